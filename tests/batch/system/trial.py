"""A batch from its manifest to its last picture, on rented pods that are killed and outbid, and what became of it.

Everything is a process as in life, on 127.0.0.1: the coordinator, the pods that an emulator of RunPod's pod API rents
out, on each of them the worker and the built-in engine. Files come over a limited link; where results go is away once.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from comfypod.batch.account import Account
from comfypod.batch.figures import figures, hourly_dollars
from comfypod.batch.store import BatchStore
from tests.batch.system.servers import Servers, running
from tests.batch.system.wanted import Wanted, prepare

KEY = "local"
GPU = "NVIDIA RTX A4000"
OFFERS = f"""
[defaults]
provider = "runpod"
download_megabits = 3
memory_gigabytes = 16
megapixel_steps_per_second = 0.03
setup_seconds = 4
load_seconds = 0.1
patch_seconds = 0.02

[[offers]]
gpu = "{GPU}"
price_class = "interruptible"
dollars_per_hour = 0.10

[[offers]]
gpu = "{GPU}"
price_class = "on_demand"
dollars_per_hour = 0.17
"""
"""What the emulator rents out, at the speed of the built-in engine."""
SUFFIX = ".png"
METADATA = "result.json"
TICK_SECONDS = 0.1
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")


@dataclass(frozen=True, slots=True)
class Trial:
    """What is wanted, and what happens on the way; each blow falls when such a share of the items is delivered."""

    wanted: Wanted
    link_bytes_per_second: float = 4_000_000
    kill_at: float | None = 0.2
    outbid_at: float | None = 0.45
    away_at: float | None = 0.65
    away_seconds: float = 8.0
    restart_at: float | None = None
    """The coordinator is killed then, and started again."""
    seconds: float = 600.0
    """It is given up after them."""


@dataclass(slots=True)
class Outcome:
    """What became of a trial."""

    wanted: Wanted
    account: Account
    results: Mapping[str, bytes]
    put_again: Sequence[str]
    refused_while_away: int
    server_problems: Sequence[str]
    state: Mapping[str, Any]
    """Of the emulator, at the end."""
    blows: list[str]
    seconds: float
    fetched_bytes: int
    folder: Path

    def problems(self) -> list[str]:
        """Why not every item arrived exactly once, and every pod has ended; empty if they have."""
        expected = {self.wanted.name(number) for number in range(self.wanted.items)}
        by_item: dict[str, list[str]] = {}
        for name in self.results:
            by_item.setdefault(name.partition("/")[0], []).append(name)
        found = [f"{item} is missing" for item in sorted(expected - by_item.keys())]
        found += [f"{item} was never asked for" for item in sorted(by_item.keys() - expected)]
        for item, names in sorted(by_item.items()):
            pictures = [name for name in names if name.endswith(SUFFIX)]
            others = [name for name in names if not name.endswith((SUFFIX, METADATA))]
            if len(pictures) != 1 or others:
                found.append(f"{item} has {sorted(names)}")
            found += [f"{name} is no picture" for name in pictures if not self._is_picture(self.results[name])]
        counts = {state: count for state, count in self.account.items.items() if count}
        found += [f"the coordinator counts {counts}"] if counts != {"succeeded": self.wanted.items} else []
        found += [f"{pod['name']} is still {pod['status']}" for pod in self.live_pods()]
        found += self._spending_problems()
        return [*found, *self.server_problems]

    def _spending_problems(self) -> list[str]:
        """The account and the platform tell of the same pods, and of the same money but for a few seconds of each."""
        accounted, billed = {pod.name for pod in self.account.pods}, {pod["name"] for pod in self.state["pods"]}
        spent, bill = figures(self.account).dollars, sum(pod["dollars"] for pod in self.state["pods"])
        seconds = 5.0 * len(billed) / 3600 * max((hourly_dollars(pod) for pod in self.account.pods), default=0.0)
        problems = [f"pods {sorted(accounted ^ billed)}"] if accounted != billed else []
        return problems + ([f"accounted ${spent:.5f}, billed ${bill:.5f}"] if abs(spent - bill) > seconds else [])

    def live_pods(self) -> list[Mapping[str, Any]]:
        """Pods that are still paid for."""
        return [pod for pod in self.state["pods"] if pod["status"] not in {"EXITED", "ERROR", "TERMINATED"}]

    def _is_picture(self, content: bytes) -> bool:
        with suppress(OSError, SyntaxError), Image.open(io.BytesIO(content)) as image:
            image.load()
            return image.size == (self.wanted.side, self.wanted.side)
        return False


@dataclass(slots=True)
class Process:
    """A command of ours, and what it prints."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "comfypod", *self.arguments],
                cwd=self.log.parent,
                env={**_passed_on(), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def ready_url(self) -> str:
        wait_until(lambda: "ready http" in self.text() or self.process.poll() is not None, 60, "a service starts")
        line = next((line for line in self.text().splitlines() if line.startswith("ready http")), None)
        if line is None:
            raise AssertionError(self.text())
        return line.removeprefix("ready ").strip()

    def end(self) -> None:
        """End it, and all that it started."""
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        self.process.kill()
        self.process.wait(20)


def endure(trial: Trial, folder: Path) -> Outcome:
    """Run it to its end, or until its time is over."""
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with ExitStack() as stack:
        servers = stack.enter_context(running(trial.link_bytes_per_second))
        manifest = prepare(trial.wanted, servers, folder)
        emulator = stack.enter_context(pods_emulator(folder))
        run = Run(trial, folder, manifest, servers, emulator)
        stack.callback(run.end)
        run.start()
        run.watch(begun + trial.seconds)
        return Outcome(
            trial.wanted,
            run.account(),
            servers.results.files,
            servers.results.again,
            servers.results.refused_while_away,
            servers.results.problems,
            emulator.state(),
            run.blows,
            time.monotonic() - begun,
            servers.models.sent_bytes,
            folder,
        )


@dataclass(frozen=True, slots=True)
class Emulator:
    """RunPod's pods, on this machine."""

    url: str

    def state(self) -> Mapping[str, Any]:
        return self._call("GET", "state")

    def strike(self, pod: str, blow: str) -> None:
        self._call("POST", f"pods/{pod}", {"event": blow})

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 (an address of our own)
            f"{self.url}/emulator/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return json.load(response)


@contextmanager
def pods_emulator(folder: Path) -> Iterator[Emulator]:
    """One that runs; every pod's files lie in a folder of its own below ``folder``."""
    arguments = ["emulate", "pods", "--port", "0", "--api-key", KEY, "--log", str(folder / "pods.log")]
    settings = {"DOWNLOAD_ALLOWED_HOSTS": "127.0.0.1", "REQUIRE_GPU": "false"}
    for name, value in settings.items():
        arguments += ["--env", f"{name}={value}"]
    process = Process(arguments, {}, folder / "emulator.log")
    try:
        yield Emulator(process.ready_url())
    finally:
        process.end()


class Run:
    """The coordinator, and the blows that fall while it runs."""

    def __init__(self, trial: Trial, folder: Path, manifest: Path, servers: Servers, emulator: Emulator) -> None:
        self.blows: list[str] = []
        self._trial = trial
        self._folder = folder
        self._manifest = manifest
        self._servers = servers
        self._emulator = emulator
        self._database = f"sqlite:///{folder / 'batch.sqlite'}"
        self._coordinator: Process | None = None
        self._away_until: float | None = None
        self._struck: list[str] = []

    def start(self) -> None:
        """Have the batch made; started once more, it goes on."""
        arguments = ["batch", "run", str(self._manifest), "--database", self._database, "--provider", "runpod"]
        arguments += ["--results", f"{self._servers.url}/results", "--pods", "2"]
        offers = self._folder / "offers.toml"
        offers.write_text(OFFERS)
        arguments += ["--offers", str(offers)]
        environment = {
            "RUNPOD_API_KEY": KEY,
            "RUNPOD_API_BASE_URL": self._emulator.url,
            "DOWNLOAD_ALLOWED_HOSTS": "127.0.0.1",
            "XDG_CACHE_HOME": str(self._folder / "cache"),  # what it learns is of no use to anybody
        }
        self._coordinator = Process(arguments, environment, self._folder / "coordinator.log")

    def watch(self, deadline: float) -> None:
        """Strike when it is time, until the coordinator has ended."""
        due = self._due()
        while self._running.process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"not over in time: {self._running.text()[-3000:]}")
            if due and self._delivered() >= due[0][0] * self._trial.wanted.items and due[0][1]():
                due.pop(0)
            if self._away_until is not None and time.monotonic() > self._away_until:
                self._servers.results.is_away, self._away_until = False, None
            time.sleep(TICK_SECONDS)
        if self._running.process.returncode or due:
            raise AssertionError(f"{self._running.process.returncode}, {self.blows}: {self._running.text()[-3000:]}")

    def account(self) -> Account:
        with closing(BatchStore.open(self._database)) as store:
            return store.account(store.find().number)

    def end(self) -> None:
        if self._coordinator is not None:
            self._coordinator.end()

    @property
    def _running(self) -> Process:
        assert self._coordinator is not None
        return self._coordinator

    def _due(self) -> list[tuple[float, Callable[[], bool]]]:
        """Blows by the share of the items at which they fall; each says whether it has fallen."""
        trial = self._trial
        planned = (
            (trial.kill_at, lambda: self._strike("lose_machine")),
            (trial.outbid_at, lambda: self._strike("outbid")),
            (trial.away_at, self._leave),
            (trial.restart_at, self._restart),
        )
        return sorted(((at, blow) for at, blow in planned if at is not None), key=lambda item: item[0])

    def _delivered(self) -> int:
        return sum(name.endswith(SUFFIX) for name in list(self._servers.results.files))

    def _strike(self, blow: str) -> bool:
        """Strike a pod that is at work, and in whose place none was struck."""
        at_work = [pod for pod in self._emulator.state()["pods"] if pod["status"] == "RUNNING"]
        if blow == "outbid":
            at_work = [pod for pod in at_work if pod["bid"] is not None]
        struck = {name.rsplit("-", 1)[0] for name in self._struck}  # pods of these numbers
        pod = next((pod["name"] for pod in at_work if pod["name"].rsplit("-", 1)[0] not in struck), None)
        if pod is None:
            return False
        self._emulator.strike(pod, blow)
        self._struck.append(pod)
        self.blows.append(f"{blow} {pod}")
        return True

    def _leave(self) -> bool:
        self._servers.results.is_away = True
        self._away_until = time.monotonic() + self._trial.away_seconds
        self.blows.append("results away")
        return True

    def _restart(self) -> bool:
        self._running.process.kill()
        self._running.process.wait()
        self.start()
        self.blows.append("coordinator killed")
        return True


def _passed_on() -> dict[str, str]:
    """What processes need of this one's environment, and `comfypod` as a command."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed, "PATH": os.pathsep.join([str(Path(sys.executable).parent), passed.get("PATH", os.defpath)])}


def wait_until(is_true: Callable[[], bool], seconds: float, what: str) -> None:
    """Look again and again.

    Raises:
        AssertionError: it did not happen in time.
    """
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain until {what}")
        time.sleep(TICK_SECONDS)
