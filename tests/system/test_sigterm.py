"""``start.sh`` as a container's first process, with the real SDK: how the worker ends, told to (SIGTERM) or not."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from worker_jobs import save_color

from benchmarks.boot import LocalRunPod
from comfypod.cloud.client import Job
from comfypod.cloud.jobs import JobState
from comfypod.deadline import Deadline
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.requests import Limits
from comfypod.errors import JobFailed
from comfypod.worker.ending import JOBS_SECONDS

ROOT = Path(__file__).parents[2]
STEP_SECONDS = 30.0
END_SECONDS = 10.0
# Leaves behind three processes, which become the first process's, and end.
LEAVING_ORPHANS = 'for i in 1 2 3; do (sleep 0.2 &); done; exec {} "$@"'
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc"]


def can_unshare() -> bool:
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run([*UNSHARE, "true"], check=False, capture_output=True, timeout=10).returncode == 0
    return False


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalRunPod]:
    """One whose polls are held for longer than a worker may take to end, and which soon misses a job."""
    limits = Limits(lost_job_seconds=3, silent_worker_seconds=30)
    platform = LocalRunPod(PlatformOptions(poll_seconds=60.0, limits=limits))
    yield platform
    platform.stop()


class Worker:
    """``start.sh``; the first process of a process namespace of its own where the system has such."""

    def __init__(self, platform: LocalRunPod, worker_id: str, comfyui: str, log: Path) -> None:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RUNPOD_LOG_LEVEL": "DEBUG",
            "COMFYUI_COMMAND": shlex.join(["sh", "-c", LEAVING_ORPHANS.format(comfyui), "sh"]),
            **platform.emulator.worker_environment(worker_id),
        }
        self._log = log
        with log.open("wb") as output:
            self._outer = subprocess.Popen(
                [*(UNSHARE if can_unshare() else []), ROOT / "start.sh"],
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def process(self) -> psutil.Process:
        """The handler."""
        outer = psutil.Process(self._outer.pid)
        return next(iter(outer.children()), outer) if can_unshare() else outer

    def until(self, holds: Callable[[str], bool]) -> None:
        """Return when this holds of what it has logged."""
        deadline = Deadline.after(STEP_SECONDS)
        while not holds(self.told()):
            assert self._outer.poll() is None, self.told()
            deadline.check(f"waiting for the worker: {self.told()}")
            time.sleep(0.02)

    def told(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def end(self) -> tuple[int, float, list[psutil.Process]]:
        """SIGTERM; its exit code, the seconds that it took, and what is left of it."""
        started = [self.process, *self.process.children(recursive=True)]
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        exit_code = self._outer.wait(STEP_SECONDS)
        return exit_code, time.monotonic() - begun, psutil.wait_procs(started, timeout=2)[1]

    def ended(self) -> tuple[int, list[psutil.Process]]:
        """Its exit code, once it has ended by itself, and what is left of it."""
        self.until(lambda told: "comfyui_ready" in told)
        started = [self.process, *self.process.children(recursive=True)]
        return self._outer.wait(STEP_SECONDS), psutil.wait_procs(started, timeout=2)[1]

    def kill(self) -> None:
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self._outer.pid).children(recursive=True):
                process.kill()
        self._outer.kill()
        self._outer.wait()


def engine(folder: Path, *flags: str) -> list[str]:
    command = [sys.executable, "-m", "comfypod", "emulate", "comfyui", "--base-directory", str(folder / "engine")]
    return [*command, *flags]


@contextmanager
def worker(platform: LocalRunPod, folder: Path, comfyui: Sequence[str]) -> Iterator[Worker]:
    worker = Worker(platform, folder.name, shlex.join(comfyui), folder / "log")
    try:
        yield worker
    finally:
        worker.kill()


def status_of(process: psutil.Process) -> str:
    try:
        return process.status()
    except psutil.NoSuchProcess:
        return psutil.STATUS_DEAD


def until(job: Job, holds: Callable[[Any], bool]) -> None:
    deadline = Deadline.after(STEP_SECONDS)
    while not holds(job.status()):
        deadline.check(f"waiting for the job, which is {job.latest}")
        time.sleep(0.05)


def test_a_job_is_left_to_another_worker_and_comfyui_is_gone(platform: LocalRunPod, tmp_path: Path) -> None:
    with (
        platform.client() as client,
        worker(platform, tmp_path, engine(tmp_path, "--fault", "slow:node=ImageInvert,seconds=30")) as it,
    ):
        job = client.submit(save_color(7))
        it.until(lambda told: " strikes" in told)
        exit_code, seconds, left = it.end()
        assert (exit_code, left) == (0, []), it.told()
        assert seconds < END_SECONDS
        assert "prompt_stopped" in it.told()
        assert job.status().state is JobState.IN_PROGRESS  # nobody has called it done, or failed
        until(job, lambda status: status.state is JobState.IN_QUEUE)
        assert job.latest.retries == 1
        job.cancel()


def test_a_job_that_heeds_no_interrupt_ends_with_comfyui(platform: LocalRunPod, tmp_path: Path) -> None:
    with (
        platform.client() as client,
        worker(platform, tmp_path, engine(tmp_path, "--fault", "hang:node=ImageInvert")) as it,
    ):
        job = client.submit(save_color(9))
        it.until(lambda told: " strikes" in told)
        exit_code, seconds, left = it.end()
        job.cancel()
    assert (exit_code, left) == (0, []), it.told()
    assert JOBS_SECONDS < seconds < END_SECONDS


def test_an_idle_worker_ends_without_waiting_for_its_polls_and_keeps_no_zombies(
    platform: LocalRunPod, tmp_path: Path
) -> None:
    with worker(platform, tmp_path, engine(tmp_path)) as it:
        it.until(lambda told: "worker_ready" in told)
        if can_unshare():
            deadline = Deadline.after(STEP_SECONDS)
            while psutil.STATUS_ZOMBIE in {status_of(child) for child in it.process.children()}:
                deadline.check("waiting for the orphans to be gone")
                time.sleep(0.05)
        exit_code, seconds, left = it.end()
    assert (exit_code, left) == (0, []), it.told()
    assert seconds < END_SECONDS / 2


def test_a_worker_whose_gpu_is_broken_says_so_and_ends_itself(platform: LocalRunPod, tmp_path: Path) -> None:
    fault = ["--fault", "cuda_error:node=ImageInvert"]
    with platform.client() as client, worker(platform, tmp_path, engine(tmp_path, *fault)) as it:
        job = client.submit(save_color(8))
        exit_code, left = it.ended()
        with pytest.raises(JobFailed, match="CUDA error") as caught:
            job.wait(timeout_seconds=STEP_SECONDS)
    assert (exit_code, left) == (0, []), it.told()
    assert "This worker asked to be replaced: ComfyUI was ended because" in str(caught.value.output["warnings"])
    assert " refresh_worker job_id=" in it.told()
    assert "Handler output: <Answer error>" in it.told()  # and not the whole of it, which the SDK formats at any level


def test_a_worker_that_boots_ends_at_once(platform: LocalRunPod, tmp_path: Path) -> None:
    with worker(platform, tmp_path, [sys.executable, "-c", "import time; time.sleep(600)"]) as it:
        it.until(lambda told: "comfyui_starting" in told)
        exit_code, seconds, left = it.end()
    assert (exit_code, left) == (0, []), it.told()
    assert seconds < END_SECONDS / 2
