"""All processes of one worker: killed together, frozen together (FlashBoot), and not left frozen by a dead emulator.

A worker's children may be in groups and sessions of their own (runpod-python's heartbeat, ComfyUI), so they are found
by ``RUNPOD_POD_ID`` in the environment they were started with. That needs Linux's ``/proc``; elsewhere only the
worker's process group is reached.

This file is also a program, the guard of the frozen: it reads ``+ID`` and ``-ID`` from its standard input, and kills
the workers that are still frozen when that ends. A frozen process hears of nothing, not even of its parent's death.
It imports nothing of ours, so that it starts fast and from anywhere.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_ID_VARIABLE = "RUNPOD_POD_ID"
# A process that was forked during one scan is found by the next.
_LONGEST_SCANS = 20
_GUARD_SECONDS = 5.0


def processes_of(worker_id: str) -> list[int]:
    """The processes that have this worker's id in the environment they were started with (Linux only)."""
    mark = f"{_ID_VARIABLE}={worker_id}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = path.read_bytes().split(b"\0")
        except OSError:
            continue  # another user's, or it has just ended
        if mark in variables:
            found.append(int(path.parent.name))
    return found


def kill_all(worker_id: str, group: int | None = None) -> None:
    """SIGKILL for everything that is left of a worker; nothing survives it, so there is nothing to wait for."""
    if group is not None:
        with suppress(ProcessLookupError):  # nobody is left in the group
            os.killpg(group, signal.SIGKILL)
    _signal(processes_of(worker_id), signal.SIGKILL)


def freeze(worker_id: str, group: int) -> None:
    """SIGSTOP for every process of a worker, those included that it starts meanwhile."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGSTOP)
    stopped: set[int] = set()
    for _ in range(_LONGEST_SCANS):
        new = set(processes_of(worker_id)) - stopped
        if not new:
            return
        _signal(new, signal.SIGSTOP)
        stopped |= new


def thaw(worker_id: str, group: int) -> None:
    """SIGCONT for every process of a worker."""
    _signal(processes_of(worker_id), signal.SIGCONT)
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGCONT)


def _signal(pids: set[int] | list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it ended by itself meanwhile
            os.kill(pid, number)


class FrozenGuard:
    """A process that kills the frozen workers if this one ends without doing so, by whatever means.

    Call `add` before a worker is frozen, `remove` when it is revived or gone, and `close` in the end.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: set[str] = set()

    def add(self, worker_id: str) -> None:
        """The worker is about to be frozen.

        Raises:
            OSError: the guard cannot be started.
        """
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-I", "-S", __file__]
            # A session of its own: a Ctrl-C in the terminal is for the emulator.
            self.close()
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603
            for frozen in self._frozen:  # a guard before this one was killed
                self._tell(f"+{frozen}")
        self._frozen.add(worker_id)
        self._tell(f"+{worker_id}")

    def remove(self, worker_id: str) -> None:
        """The worker is not frozen any more."""
        self._frozen.discard(worker_id)
        self._tell(f"-{worker_id}")

    def close(self) -> None:
        """End the guard; what it was not told of as removed, it kills first."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(_GUARD_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _tell(self, line: str) -> None:
        """A line is far below what a pipe holds, so this does not block."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):  # somebody killed it; `add` starts another
                self._process.stdin.write(f"{line}\n".encode())
                self._process.stdin.flush()


def _guard() -> None:
    frozen: set[str] = set()
    for line in sys.stdin:
        worker_id = line[1:].strip()
        if line.startswith("+"):
            frozen.add(worker_id)
        else:
            frozen.discard(worker_id)
    for worker_id in frozen:
        kill_all(worker_id)


if __name__ == "__main__":
    _guard()
