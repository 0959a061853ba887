"""Awaiting the end of processes that nobody else awaits, in a container whose first process this is.

What ComfyUI, its node packs or a killed worker start, and leave behind when they end, becomes a child of the first
process, and stays in the table of processes as a zombie until that one has asked for its exit code.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

LOOK_SECONDS = 2.0
FIRST_PROCESS = 1
_PROC = Path("/proc")


def reap_orphans_as_first_process() -> None:
    """Look after orphans from now on, in a thread, if this is the container's first process."""
    if os.getpid() == FIRST_PROCESS:
        threading.Thread(target=_reap_forever, name="orphans", daemon=True).start()


def _reap_forever() -> None:
    reaper = OrphanReaper()
    while True:
        time.sleep(LOOK_SECONDS)
        with suppress(OSError):  # too many open files: the next look may see them
            reaper.look()


class OrphanReaper:
    """Reaps what is dead at two looks in a row: a child of our own is awaited, and so reaped at once, by its parent."""

    def __init__(self) -> None:
        self._seen: frozenset[int] = frozenset()

    def look(self) -> None:
        """Reap what was dead the last time already."""
        dead = _dead_children()
        for pid in dead & self._seen:
            with suppress(ChildProcessError):  # whoever waited for it was sooner after all
                os.waitpid(pid, os.WNOHANG)
        self._seen = dead - self._seen


def _dead_children() -> frozenset[int]:
    """The ids of our children that have ended, and that nobody has asked for their exit code (proc(5), stat)."""
    own = os.getpid()
    found = set()
    for entry in _PROC.iterdir():
        with suppress(OSError, ValueError):  # no process, or gone meanwhile
            # The name is in brackets and may hold anything; then come state and parent.
            state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            if (state, int(parent)) == ("Z", own):
                found.add(int(entry.name))
    return frozenset(found)
