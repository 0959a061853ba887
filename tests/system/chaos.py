"""Many jobs by one client while workers and the local RunPod itself are killed and connections are cut.

The local RunPod keeps its jobs in a file, as the platform outlives any of its processes; it is started again at the
same port. Used by ``test_chaos.py`` with few jobs, and by ``python -m benchmarks.chaos`` with many.
"""

from __future__ import annotations

import base64
import io
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from PIL import Image

from comfypod.cloud.client import Client
from comfypod.errors import JobFailed, SubmissionUncertain

ROOT = Path(__file__).parents[2]
ENDPOINT, KEY = "chaos", "chaos-key"
START_SECONDS = 30.0
LOST_SECONDS = 12.0
"""After which a job counts as lost with its worker; more than twice the time between two heartbeats."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many jobs, and how bad it gets. Moments between two kills are drawn between 0 and twice the mean."""

    jobs: int
    concurrency: int = 24
    max_workers: int = 3
    seconds_between_kills: float = 6.0
    share_of_emulator_kills: float = 0.25
    faults: tuple[str, ...] = (
        "cut:route=client,when=before,chance=0.02,times=0,seed=1",
        "cut:route=client,when=after,chance=0.02,times=0,seed=2",
        "cut:route=worker,when=before,chance=0.01,times=0,seed=3",
        "cut:route=worker,when=after,chance=0.01,times=0,seed=4",
        "status:route=client,code=502,chance=0.01,times=0,seed=5",
    )
    seed: int = 1


@dataclass(slots=True)
class Report:
    """What came of it. ``doubled`` are keys with more than one job, ``unended`` jobs that are not final."""

    seconds: float = 0.0
    worker_kills: int = 0
    emulator_kills: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unended: list[str] = field(default_factory=list)
    overlooked: list[str] = field(default_factory=list)
    """Keys that the client gave up as uncertain although their job is there."""

    def is_good(self, jobs: int) -> bool:
        """Whether nothing was lost, doubled or false."""
        nothing_bad = not (self.wrong or self.doubled or self.unended or self.overlooked)
        return nothing_bad and self.outcomes.total() == jobs


class Platform:
    """``comfypod emulate runpod`` as a process that may be killed and started again."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v2"

    def start(self) -> None:
        """Start it, and wait until it serves."""
        command = [sys.executable, "-m", "comfypod", "emulate", "runpod"]
        command += ["--port", str(self._port), "--endpoint", ENDPOINT, "--api-key", KEY]
        command += ["--min-workers", "0", "--max-workers", str(self._plan.max_workers)]
        command += ["--scaler", "REQUEST_COUNT", "--scaler-value", "4"]
        command += ["--state", str(self._folder / "state.db"), "--limit", f"lost_job_seconds={LOST_SECONDS:g}"]
        command += [word for fault in self._plan.faults for word in ("--fault", fault)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "LOG_LEVEL": "INFO"},
            )
        end = time.monotonic() + START_SECONDS
        while self.ask("/emulator/state") is None:
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError((self._folder / "log").read_text(encoding="utf-8")[-3000:])
            time.sleep(0.1)

    def kill(self) -> None:
        """As the out-of-memory killer does it: no goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    def ask(self, path: str) -> Any:
        """A JSON document of it; None when it does not answer, which is what this is all about."""
        try:
            answer = requests.get(self.base_url.removesuffix("/v2") + path, headers={"Authorization": KEY}, timeout=5)
            return answer.json() if answer.ok else None
        except requests.RequestException:
            return None

    def insist(self, path: str) -> Any:
        """As `ask`, until there is an answer."""
        end = time.monotonic() + START_SECONDS
        while (document := self.ask(path)) is None:
            if time.monotonic() > end:
                raise RuntimeError(f"No answer from {path}")
        return document


class Killer(threading.Thread):
    """Kills workers, and now and then the platform itself, until it is told to stop."""

    def __init__(self, platform: Platform, plan: Plan, report: Report) -> None:
        super().__init__(daemon=True)
        self._platform, self._plan, self._report = platform, plan, report
        self._random = random.Random(plan.seed)  # noqa: S311 (to be repeatable)
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(self._random.uniform(0, 2 * self._plan.seconds_between_kills)):
            if self._random.random() < self._plan.share_of_emulator_kills:
                self._platform.kill()
                self._report.emulator_kills += 1
                self.done.wait(self._random.uniform(0, 1.5))  # away for a moment
                self._platform.start()
            else:
                self._kill_worker()

    def _kill_worker(self) -> None:
        state = self._platform.ask("/emulator/state") or {}
        pids = [worker["pid"] for worker in state.get("workers", ()) if worker.get("pid")]
        if pids:
            try:
                os.kill(self._random.choice(pids), signal.SIGKILL)
                self._report.worker_kills += 1
            except ProcessLookupError:
                pass  # it ended meanwhile


def workflow(color: int) -> dict[str, Any]:
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": color}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "chaos"}},
    }


def endure(plan: Plan, folder: Path) -> Report:
    """Run the jobs, and say what came of each."""
    report = Report()
    begun = time.monotonic()
    with _under_fire(plan, folder, report) as platform, Client(ENDPOINT, KEY, platform.base_url) as client:
        items = [{"workflow": workflow(number), "idempotency_key": f"job-{number}"} for number in range(plan.jobs)]
        uncertain: set[str] = set()
        for outcome in client.run_many(items, plan.concurrency):
            kind = _kind(outcome.error)
            report.outcomes[kind] += 1
            key = f"job-{outcome.index}"
            if isinstance(outcome.error, SubmissionUncertain):
                uncertain.add(key)
            elif outcome.error is None and not _has_color(outcome.result, outcome.index):
                report.wrong.append(key)
        _compare(platform, uncertain, report)
    report.seconds = time.monotonic() - begun
    return report


@contextmanager
def _under_fire(plan: Plan, folder: Path, report: Report) -> Iterator[Platform]:
    platform = Platform(plan, folder)
    platform.start()
    killer = Killer(platform, plan, report)
    killer.start()
    try:
        yield platform
    finally:
        killer.done.set()
        killer.join()
        platform.stop()


def _kind(error: Exception | None) -> str:
    if error is None:
        return "completed"
    if isinstance(error, JobFailed):
        return f"failed: {error}"
    return getattr(error, "code", type(error).__name__)


def _has_color(result: Any, color: int) -> bool:
    (image,) = result["images"]
    with Image.open(io.BytesIO(base64.b64decode(image["data"]))) as picture:
        red, green, blue = picture.convert("RGB").getpixel((0, 0))  # type: ignore[misc]
    return (red << 16 | green << 8 | blue) == color


def _compare(platform: Platform, uncertain: set[str], report: Report) -> None:
    """Hold what the client says against what the platform has."""
    listed = platform.insist(f"/v2/{ENDPOINT}/requests?limit=1000")["requests"]
    keys = Counter(job["input"]["idempotency_key"] for job in listed)
    report.doubled = [key for key, count in keys.items() if count > 1]
    report.overlooked = sorted(uncertain & keys.keys())
    final = {"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"}
    report.unended = [job["id"] for job in listed if job["status"] not in final]
