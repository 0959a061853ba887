"""Faults of an engine in a process of its own: how it starts, how it ends, what it prints."""

from __future__ import annotations

import itertools
import json
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 20.0
READY = "ready "
WORKFLOW: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
}


class Engine:
    """``comfypod emulate comfyui`` as a process, with all that it writes to stderr."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-u", "-m", "comfypod", "emulate", "comfyui", "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--base-directory", str(folder), *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._ready: queue.Queue[str] = queue.Queue()
        self._readers = [threading.Thread(target=read) for read in (self._read_stdout, self._read_stderr)]
        for reader in self._readers:
            reader.start()

    def _read_stdout(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            for line in stdout:
                self._ready.put(line.strip())
        self._ready.put("")

    def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            self.lines.extend(line.rstrip("\n") for line in stderr)

    def url(self) -> str:
        line = self._ready.get(timeout=DEADLINE_SECONDS)
        assert line.startswith(READY), self.lines
        return line.removeprefix(READY)

    def exit_code(self) -> int:
        """How it ended, waited for; all its lines are there then."""
        code = self.process.wait(DEADLINE_SECONDS)
        for reader in self._readers:
            reader.join(DEADLINE_SECONDS)
        return code

    def stop(self) -> None:
        self.process.kill()
        self.exit_code()


Start = Callable[..., Engine]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    engines: list[Engine] = []

    def start(*arguments: str) -> Engine:
        engines.append(Engine(tmp_path / "engine", *arguments))
        return engines[-1]

    yield start
    for engine in engines:
        engine.stop()


def post(url: str, document: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(document).encode())  # noqa: S310 - an address of the test's own
    with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as response:  # noqa: S310
        return json.load(response)


def assert_gone(url: str) -> None:
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(f"{url}/queue", timeout=DEADLINE_SECONDS)  # noqa: S310


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ("exit:node=ImageInvert,code=139", 139),
        ("exit:node=2,signal=9", -signal.SIGKILL),
        ("exit:signal=11", -signal.SIGSEGV),
    ],
)
def test_exit_ends_the_process_in_the_middle_of_a_node(start: Start, spec: str, code: int) -> None:
    engine = start("--fault", spec)
    url = engine.url()
    post(f"{url}/prompt", {"prompt": WORKFLOW, "client_id": "me"})
    assert engine.exit_code() == code
    assert_gone(url)
    (strike,) = [line for line in engine.lines if "fault " in line]
    assert f"WARNING fault {spec} strikes node " in strike


def test_exit_can_be_planned_while_it_runs_and_strikes_at_a_step(start: Start) -> None:
    engine = start("--accept-faults", "--models", str(ROOT / "models.toml"))
    url = engine.url()
    assert post(f"{url}/emulator/faults", {"faults": ["exit:node=ImageInvert,code=7,after=1"]})["faults"]
    post(f"{url}/prompt", {"prompt": WORKFLOW})
    changed = {**WORKFLOW, "1": {**WORKFLOW["1"], "inputs": {**WORKFLOW["1"]["inputs"], "color": 5}}}
    post(f"{url}/prompt", {"prompt": changed})
    assert engine.exit_code() == 7


@pytest.mark.parametrize(
    ("message", "last_line"),
    [
        ("No CUDA GPUs are available", "RuntimeError: No CUDA GPUs are available"),
        ("ModuleNotFoundError: No module named 'torch'", "ModuleNotFoundError: No module named 'torch'"),
    ],
)
def test_a_crash_at_boot_leaves_its_reason_and_no_open_port(start: Start, message: str, last_line: str) -> None:
    engine = start("--fault", f"crash_at_boot:code=3,message={message}")
    assert engine.exit_code() == 3
    assert message in engine.lines
    assert engine.lines[-1] == last_line
    with pytest.raises(AssertionError):
        engine.url()


def test_a_signal_ends_a_process_that_is_still_starting(start: Start) -> None:
    engine = start("--fault", "slow_boot:seconds=3600")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not any("strikes at boot" in line for line in engine.lines):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    engine.process.send_signal(signal.SIGTERM)
    assert engine.exit_code() == -signal.SIGTERM


def test_a_signal_ends_a_hanging_node(start: Start) -> None:
    engine = start("--fault", "hang")
    post(f"{engine.url()}/prompt", {"prompt": WORKFLOW})
    begun = time.monotonic()
    engine.process.send_signal(signal.SIGTERM)
    assert engine.exit_code() == 0
    assert time.monotonic() - begun < 4


def test_a_blocked_server_answers_nobody_while_the_node_goes_on(start: Start) -> None:
    engine = start("--fault", "hang_server:node=ImageInvert,seconds=0.8")
    url = engine.url()
    moments = [time.monotonic()]
    post(f"{url}/prompt", {"prompt": WORKFLOW, "prompt_id": "mine"})
    history: dict[str, Any] = {}
    while not history:
        moments.append(time.monotonic())
        with urllib.request.urlopen(f"{url}/history/mine", timeout=DEADLINE_SECONDS) as response:  # noqa: S310
            history = json.load(response)
        assert moments[-1] - moments[0] < DEADLINE_SECONDS
    moments.append(time.monotonic())
    assert max(later - earlier for earlier, later in itertools.pairwise(moments)) >= 0.5
    (_, begun), _, (_, ended) = history["mine"]["status"]["messages"]
    assert ended["timestamp"] - begun["timestamp"] < 500


def test_what_ends_comfyui_ends_the_process_with_a_traceback(start: Start) -> None:
    engine = start()
    url = engine.url()
    post(f"{url}/prompt", {"prompt": WORKFLOW, "client_id": ["x"]})
    assert engine.exit_code() == 1
    assert_gone(url)
    assert "Traceback (most recent call last):" in engine.lines
    assert engine.lines[-1] == "TypeError: unhashable type: 'list'"


def test_a_wrong_fault_is_refused_with_what_is_valid(start: Start) -> None:
    engine = start("--fault", "exti:code=1")
    assert engine.exit_code() == 2
    assert "There is no fault 'exti'. Did you mean exit" in engine.lines[-1]
