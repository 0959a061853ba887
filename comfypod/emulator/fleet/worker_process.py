"""One worker's process: started clean, with a life that ends with the emulator's, and never left behind.

It runs in a session of its own, so that a Ctrl-C in a terminal reaches the emulator alone, and so that the whole
process group can be killed: runpod-python's heartbeat is a child that outlives a killed parent and goes on pinging.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from comfypod.emulator.fleet import process_tree

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


class WorkerProcess:
    """A worker's process and everything that it started."""

    def __init__(self, worker_id: str, process: asyncio.subprocess.Process) -> None:
        self.worker_id = worker_id
        self._process = process

    @classmethod
    async def start(
        cls,
        worker_id: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        directory: Path | None,
        log: Path | None,
    ) -> WorkerProcess:
        """Start ``command``; its output goes to the end of ``log``, or to our stderr, since stdout is for data.

        Raises:
            OSError: the command cannot be run, or the log not be written.
        """
        output = None if log is None else _opened(log)
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

    async def wait_for_end_or(self, order: asyncio.Event) -> None:
        """Return when the process has ended, or when ``order`` is set."""
        tasks = [asyncio.create_task(self.wait()), asyncio.create_task(order.wait())]
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
        """SIGKILL for everything that is left of the worker, frozen or not."""
        process_tree.kill_all(self.worker_id, self.pid)

    def freeze(self) -> None:
        """Stop all of the worker's processes where they are."""
        process_tree.freeze(self.worker_id, self.pid)

    def thaw(self) -> None:
        """Let them go on."""
        process_tree.thaw(self.worker_id, self.pid)


def _opened(log: Path) -> BinaryIO:
    """Not in a thread: if the start were cancelled meanwhile, nobody would close it."""
    return log.open("ab")


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
