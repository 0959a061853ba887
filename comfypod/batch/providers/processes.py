"""Processes that are no child of ours any more: known by number and start, signalled only while they are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOOK_SECONDS = 0.02
START_SECONDS = 10.0
KILL_SECONDS = 5.0
_PROC = Path("/proc")
# Waits for a line before it becomes the command: its number must be on disk first. If whoever started it dies before,
# the input closes, and it ends. ``exec`` keeps number and start.
_HELD = 'read -r _ && exec "$@" </dev/null'


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process for ever: numbers come again, but not with the same start."""

    pid: int
    started: str
    """As the system tells it: opaque, the same each time it is asked."""

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The process that has this number now; None: there is none, or only a zombie."""
        started = _start_of(pid)
        return None if started is None else cls(pid, started)

    @property
    def is_alive(self) -> bool:
        """Whether it runs; a zombie does not."""
        return self.exit_code is None and _start_of(self.pid) == self.started

    @property
    def exit_code(self) -> int | None:
        """Of a child of ours that has ended; negative: the signal that ended it. None: it runs, or is no child."""
        child = _children.get(self)
        return None if child is None else child.poll()

    def signal(self, number: signal.Signals) -> None:
        """To the process alone, if it is still there."""
        if self.is_alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self, grace_seconds: float) -> None:
        """SIGTERM to the process, as a container's first one gets it; then SIGKILL to its whole group.

        The process must lead its group.
        """
        if not self.is_alive:
            return
        self.signal(signal.SIGTERM)
        self._wait(grace_seconds)
        # Also when the leader has just gone: its group's number stays taken while the group has members, and comes
        # again only after all other numbers.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._wait(KILL_SECONDS)

    def _wait(self, seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        while self.is_alive and time.monotonic() < ends_at:
            time.sleep(LOOK_SECONDS)


_children: dict[ProcessIdentity, subprocess.Popen[bytes]] = {}
"""Of this process: who has not been awaited stays as a zombie, whichever object has started it."""


class HeldProcess:
    """A command in a session of its own, that begins only when it is released."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> None:
        """Start it.

        Raises:
            OSError: it cannot be started.
        """
        with log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 (the operator's own command)
                ["/bin/sh", "-c", _HELD, "pod", *command],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started = _start_of(self.process.pid)
        if started is None:
            self.forsake()
            raise OSError("the process ended before it began")
        self.identity = ProcessIdentity(self.process.pid, started)
        _children[self.identity] = self.process

    def release(self) -> None:
        """Let it begin."""
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):  # killed meanwhile
                self.process.stdin.write(b"\n")
                self.process.stdin.close()

    def forsake(self) -> None:
        """Let it end without having begun."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(START_SECONDS)


def _start_of(pid: int) -> str | None:
    """When the process with this number was started; None: there is none, or only a zombie."""
    if sys.platform == "linux":
        try:
            # proc(5), stat: the name is in brackets and may hold anything; state is the 3rd field, start the 22nd.
            fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{_boot()}-{fields[19]}"
    command = ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)]
    try:
        text = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5).stdout  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    state, _, started = text.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def _boot() -> str:
    """Starts are counted from the machine's own: a number and a start come again after the next one."""
    with suppress(OSError):
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    return ""
