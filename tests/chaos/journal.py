"""What the processes of a run have done, in one file that outlives them all.

A note is one line, written with one call: those of a process that is killed a moment later are whole and there, and
those of several processes do not mix.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Note:
    """When (seconds since 1970), what, and about whom: a request's key, a point, …"""

    moment: float
    event: str
    subject: str
    details: tuple[str, ...]


class Journal:
    """The file ``journal`` of a folder. Events and subjects have no white space."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "journal"

    def note(self, event: str, subject: str, *details: str) -> None:
        """Add a line."""
        line = " ".join((f"{time.time():.4f}", event, subject, *details)) + "\n"
        handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)

    def notes(self, event: str) -> Iterator[Note]:
        """All of an event, in the order in which they were written."""
        if not self._file.exists():
            return
        with self._file.open(encoding="utf-8") as lines:
            for line in lines:
                moment, name, subject, *details = line.split()
                if name == event:
                    yield Note(float(moment), name, subject, tuple(details))
