"""The worker processes of an emulated RunPod endpoint: started, replaced when they end, and never left behind.

A worker is one process in a session of its own, so that a Ctrl-C in a terminal reaches the emulator alone, and so that
the whole process group can be killed: runpod-python's heartbeat is a child process that outlives a killed parent and
goes on pinging. Children that made a session of their own are found by their environment, where there is a ``/proc``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from comfypod.emulator.events import log_event

# A worker that ends sooner than this after its start has failed to start: the next one waits a little longer.
SHORT_LIFE_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 10.0
# How long a killed process may take to be gone; only one stuck in the kernel takes longer.
_KILL_SECONDS = 5.0
_STDERR = 2
# Runs as the worker's process until it becomes the worker's program. If the emulator is killed and cannot end its
# workers, Linux sends them SIGTERM (prctl(2), PR_SET_PDEATHSIG = 1); runpod-python would otherwise ask a closed port
# for jobs for ever, thousands of times a second.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, ctypes.c_ulong(signal.SIGTERM))
if os.getppid() != int(sys.argv[1]):
    sys.exit("The emulator ended before its worker had started.")
os.execvp(sys.argv[2], sys.argv[2:])
"""
# What a worker may keep of the emulator's own RUNPOD_ variables. All others describe another endpoint, are secret
# (RUNPOD_API_KEY), or start runpod-python in another mode (RUNPOD_REALTIME_PORT).
_KEPT_VARIABLES = frozenset({"RUNPOD_LOG_LEVEL", "RUNPOD_DEBUG_LEVEL"})


class WorkerHost(Protocol):
    """What the processes need from the endpoint that they serve."""

    def worker_environment(self, worker_id: str) -> dict[str, str]:
        """The variables that tell the worker where its endpoint is and who it is; ``RUNPOD_POD_ID`` is among them."""

    async def stop_jobs(self, worker_id: str) -> None:
        """Tell the worker to stop its running jobs; return when it has heard it, or after a short deadline."""

    def release(self, worker_id: str) -> None:
        """The worker was told to end: answer its held requests, and give it no more jobs."""

    def forget(self, worker_id: str) -> None:
        """The worker's process is gone."""


class WorkerProcess:
    """One worker: a process and everything that it started."""

    def __init__(self, worker_id: str, process: asyncio.subprocess.Process) -> None:
        self.worker_id = worker_id
        self.started = time.monotonic()
        self.must_be_replaced = asyncio.Event()
        self._process = process

    @classmethod
    async def start(
        cls,
        worker_id: str,
        command: Sequence[str],
        environment: dict[str, str],
        directory: Path | None,
        log: Path | None,
    ) -> WorkerProcess:
        """Start ``command``; its output goes to the end of ``log``, or to our stderr, since stdout is for data.

        Raises:
            OSError: the command cannot be run, or the log not be written.
        """
        output = None if log is None else await asyncio.to_thread(log.open, "ab")
        try:
            process = await asyncio.create_subprocess_exec(
                *_launched(command),
                env=environment,
                cwd=directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=_STDERR if output is None else output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            if output is not None:
                output.close()
        return cls(worker_id, process)

    @property
    def pid(self) -> int:
        """The process id, which is also that of the group and of the session."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, minus the number of the signal that ended it, or None while it runs."""
        return self._process.returncode

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until the process has ended; False if it has not after ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    async def wait_for_end_or_replacement(self) -> None:
        """Return when the process has ended, or when `must_be_replaced` is set."""
        tasks = [asyncio.create_task(self.wait()), asyncio.create_task(self.must_be_replaced.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    def terminate(self) -> None:
        """SIGTERM for the process alone, as a container's first process gets it: its children are its own business."""
        if self._process.returncode is None:
            self._process.terminate()

    def kill(self) -> None:
        """SIGKILL for everything that is left of the worker; nothing survives it, so there is nothing to wait for."""
        with suppress(ProcessLookupError):  # nobody is left in the group
            os.killpg(self.pid, signal.SIGKILL)
        for pid in _processes_of(self.worker_id):
            with suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(pid, signal.SIGKILL)


class WorkerPool:
    """Keeps ``count`` workers running until `stop`.

    Call `start`, then `replace` whenever a worker asks for it, and `stop` in a ``finally``. The command may end at any
    time: it is started again, after a pause that grows while workers end within `SHORT_LIFE_SECONDS`.
    """

    def __init__(
        self,
        host: WorkerHost,
        command: Sequence[str],
        *,
        count: int = 1,
        directory: Path | None = None,
        log: Path | None = None,
        stop_seconds: float = 5.0,
    ) -> None:
        self._host = host
        self._command = list(command)
        self._count = count
        self._directory = directory
        self._log_path = log
        self._stop_seconds = stop_seconds
        self._workers: dict[str, WorkerProcess] = {}
        self._keepers: set[asyncio.Task[None]] = set()
        # How many workers in a row ended soon after their start: more than a few means that the command is broken.
        self.failed_starts = 0

    @property
    def workers(self) -> dict[str, WorkerProcess]:
        """The workers whose process was started and is not known to be gone, by id."""
        return dict(self._workers)

    def start(self) -> None:
        """Start the workers in the background.

        Raises:
            FileNotFoundError: there is no such program.
        """
        if shutil.which(self._command[0], path=os.environ.get("PATH")) is None:
            raise FileNotFoundError(f"The worker's command {self._command[0]!r} was not found, or cannot be executed.")
        self._keepers = {asyncio.create_task(self._keep_one()) for _ in range(self._count)}

    def replace(self, worker_id: str) -> bool:
        """Let the worker finish within the stop deadline, and start another; False if it is not one of ours."""
        if worker := self._workers.get(worker_id):
            worker.must_be_replaced.set()
        return worker is not None

    async def stop(self) -> None:
        """Stop every worker and wait for it. If this is cancelled, they are killed at once.

        Each worker first hears that its running jobs are stopped, because SIGTERM lets those finish.
        """
        for keeper in self._keepers:
            keeper.cancel()
        try:
            for outcome in await asyncio.gather(*self._keepers, return_exceptions=True):
                if isinstance(outcome, Exception):
                    log_event("worker_keeper_failed", logging.ERROR, error=repr(outcome))
        finally:
            for worker in self._workers.values():
                worker.kill()
            self._workers.clear()

    async def _keep_one(self) -> None:
        while True:
            pause_seconds = 0.0
            try:
                await self._run_one()
                self.failed_starts = 0
            except _EndedEarly as error:
                self.failed_starts += 1
                pause_seconds = min(0.5 * 2 ** min(self.failed_starts - 1, 10), _LONGEST_PAUSE_SECONDS)
                log_event("worker_ended_early", logging.WARNING, reason=str(error), next_start_seconds=pause_seconds)
            await asyncio.sleep(pause_seconds)

    async def _run_one(self) -> None:
        """Start a worker and see it to its end.

        Raises:
            _EndedEarly: it could not be started, or ended too soon to have been of use.
        """
        worker_id = f"local-{secrets.token_hex(8)}"
        environment = clean_environment() | self._host.worker_environment(worker_id)
        try:
            worker = await WorkerProcess.start(worker_id, self._command, environment, self._directory, self._log_path)
        except OSError as error:
            raise _EndedEarly(str(error)) from error
        self._workers[worker_id] = worker
        log_event("worker_started", worker_id=worker_id, pid=worker.pid)
        is_stopping = True
        try:
            await worker.wait_for_end_or_replacement()
            is_stopping = False
        finally:
            await self._end(worker, stop_jobs=is_stopping)
        if not worker.must_be_replaced.is_set() and time.monotonic() - worker.started < SHORT_LIFE_SECONDS:
            raise _EndedEarly(f"exit code {worker.exit_code}")

    async def _end(self, worker: WorkerProcess, *, stop_jobs: bool) -> None:
        """End the worker in order, and then in any case.

        Cancelling this kills at once.
        """
        try:
            if worker.exit_code is None:
                if stop_jobs:
                    await self._host.stop_jobs(worker.worker_id)
                worker.terminate()
                self._host.release(worker.worker_id)
                if not await worker.wait(self._stop_seconds):
                    log_event("worker_killed", logging.WARNING, worker_id=worker.worker_id, after=self._stop_seconds)
        finally:
            worker.kill()
            self._workers.pop(worker.worker_id, None)
            self._host.forget(worker.worker_id)
        await worker.wait(_KILL_SECONDS)
        log_event("worker_ended", worker_id=worker.worker_id, exit_code=worker.exit_code)


class _EndedEarly(Exception):
    """A worker was of no use."""


def clean_environment() -> dict[str, str]:
    """Our environment without what belongs to RunPod, and with loopback excluded from any proxy.

    The heartbeat uses requests, which would send its pings to 127.0.0.1 through ``HTTP_PROXY``.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("RUNPOD_") or name in _KEPT_VARIABLES
    }
    for name in ("NO_PROXY", "no_proxy"):
        environment[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"]))
    return environment


def _launched(command: Sequence[str]) -> list[str]:
    """The command, so that it ends with the emulator where the system can see to that."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command]


def _processes_of(worker_id: str) -> list[int]:
    """The processes that have this worker's id in the environment they were started with (Linux only)."""
    mark = f"RUNPOD_POD_ID={worker_id}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = path.read_bytes().split(b"\0")
        except OSError:
            continue  # another user's, or it has just ended
        if mark in variables:
            found.append(int(path.parent.name))
    return found
