"""Points at which a process is to die: armed by the conductor, sprung by whichever process comes there first.

A trap is an empty file. Removing it is what the processes race for, so that every armed trap kills exactly one, however
many of them pass the point at the same moment.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.chaos.journal import Journal


class Traps:
    """Traps in a folder that all processes of a run share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "traps"
        self._folder.mkdir(exist_ok=True)
        self._journal = Journal(folder)

    def arm(self, point: str) -> None:
        """The next process at this point dies there; no more than one, if it was armed already."""
        (self._folder / point).touch()

    def armed(self) -> set[str]:
        """The points at which nobody has died yet."""
        return {trap.name for trap in self._folder.iterdir()}

    def reached(self, point: str) -> None:
        """Die if a trap is armed here, as the out-of-memory killer does it: no goodbye, no flush."""
        try:
            (self._folder / point).unlink()
        except FileNotFoundError:
            return
        self._journal.note("kill", point)
        os.kill(os.getpid(), signal.SIGKILL)
