"""A child process: started in its own process group, ended with everything it started, and never left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread

KILL_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1  # prctl(2)


class Child:
    """A running command.

    Its output is read line by line: the last lines are kept in ``last_lines``, and each one goes to ``on_line``.
    On Linux the kernel ends it (SIGTERM) when the thread that started it is gone, so start it from the main thread.
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
        self._on_line = on_line
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
            preexec_fn=_end_with_parent(os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509 (two syscalls)
        )
        self._reader = Thread(target=self._read, name=f"output of {command[0]}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        if self.process.stdout is None:
            return
        with self.process.stdout as output:
            for line in output:
                self.last_lines.append(line.rstrip())
                # Read on when nobody can take a line (a full disk, a closed terminal): else the child would block.
                with suppress(OSError, ValueError):
                    self._on_line(line.rstrip())

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self.process.poll()

    def stop(self, grace_seconds: float) -> None:
        """SIGTERM; SIGKILL to its whole group when the grace is over, or for what it left running."""
        if self.exit_code is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(grace_seconds)
        with suppress(ProcessLookupError, PermissionError):  # nothing is left in the group
            os.killpg(self.process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # only one that hangs in the kernel outlives SIGKILL
            self.process.wait(KILL_SECONDS)
        self._reader.join(timeout=1)


def _end_with_parent(parent: int) -> Callable[[], None]:
    """What the child does before it becomes the command; the library is loaded beforehand, in the parent."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def set_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # the parent died in between
            os._exit(1)

    return set_signal
