"""A child process: started in its own process group, ended with everything it started, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread, current_thread
from weakref import WeakSet

KILL_SECONDS = 5.0
LAST_LINES_SECONDS = 0.5
GUARD_GRACE_SECONDS = 2
"""How long a group whose parent is gone may take to end by itself."""

_GUARD = 'read -r _; kill -s TERM -- "-$0"; sleep "$1"; kill -s KILL -- "-$0"'
"""Waits until its input closes, which happens when this process ends, however it ends; then ends group ``$0``."""


class Child:
    """A running command.

    Its output is read line by line: the last lines are kept in ``last_lines``, and each one goes to ``on_line``, in a
    thread of its own. ``last_output`` is the moment (monotonic seconds) of the newest line, or of the start.
    If this process ends without `stop`, even by SIGKILL, the child's whole group is ended for it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        on_line: Callable[[str], None],
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.last_lines: deque[str] = deque(maxlen=50)
        self.last_output = time.monotonic()
        self._on_line = on_line
        self._stopping = Lock()
        self._stopped = False
        self.process = subprocess.Popen(  # noqa: S603 (the operator's own command)
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            self._guard = _Guard(self.process.pid)
        except OSError:
            self.process.kill()
            raise
        self._drained = False
        self._reader = Thread(target=self._read, name=f"output of {command[0]}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        if self.process.stdout is None:
            return
        with self.process.stdout as output:
            for line in output:
                self.last_output = time.monotonic()
                self.last_lines.append(line.rstrip())
                # Read on when nobody can take a line (a full disk, a closed terminal): else the child would block.
                with suppress(OSError, ValueError):
                    self._on_line(line.rstrip())

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it. Its last lines have been read by then."""
        exit_code = self.process.poll()
        if exit_code is not None and not self._drained and current_thread() is not self._reader:
            self._reader.join(LAST_LINES_SECONDS)  # what it started may hold its output open
            self._drained = True
        return exit_code

    def stop(self, grace_seconds: float) -> None:
        """SIGTERM; SIGKILL to its whole group when the grace is over, or for what it left running.

        May be called from several threads; each returns when it has ended.
        """
        with self._stopping:
            if not self._stopped:
                self._stop(grace_seconds)
            self._stopped = True

    def _stop(self, grace_seconds: float) -> None:
        if self.exit_code is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(grace_seconds)
        with suppress(ProcessLookupError, PermissionError):  # nothing is left in the group
            os.killpg(self.process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # only one that hangs in the kernel outlives SIGKILL
            self.process.wait(KILL_SECONDS)
        self._guard.dismiss()
        self._reader.join(timeout=1)


class _Guard:
    """A shell that outlives this process for as long as it takes to end a process group.

    The kernel's own signal for this (PR_SET_PDEATHSIG) is Linux's alone, hangs on the thread that started the child,
    and reaches neither what a wrapper script started nor the rest of the group.
    """

    def __init__(self, group: int) -> None:
        self._stop_reading, self._alive = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 (a constant, and a number)
                ["/bin/sh", "-c", _GUARD, str(group), str(GUARD_GRACE_SECONDS)],
                stdin=self._stop_reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a signal to this process's group must not reach it
            )
        finally:
            os.close(self._stop_reading)
        _guards.add(self)

    def close(self) -> None:
        """Let go of the pipe; in the process that holds its last end, this sets the guard off."""
        alive, self._alive = self._alive, -1
        if alive >= 0:
            os.close(alive)

    def dismiss(self) -> None:
        """End it without effect: the group is gone, and its number may be given to another."""
        self._process.kill()
        self._process.wait()
        self.close()


_guards: WeakSet[_Guard] = WeakSet()


def _close_inherited_pipes() -> None:
    """A process forked from this one (the SDK's heartbeat is) may outlive it, and must not seem to be it."""
    for guard in list(_guards):
        guard.close()


os.register_at_fork(after_in_child=_close_inherited_pipes)
