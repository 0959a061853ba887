"""The dead whose parents are dead: they fall to a container's first process, which must take note of their end.

Without that each killed worker would leave a few entries in the table of processes for as long as the pod runs.
"""

from __future__ import annotations

import asyncio
import os

LOOK_SECONDS = 1.0
FIRST_PROCESS = 1


class OrphanReaper:
    """Reaps what has been dead for two looks: a child of our own is awaited, and so reaped at once by who waits."""

    def __init__(self) -> None:
        self._seen: int | None = None

    def look(self) -> None:
        """Reap what was dead the last time already; the kernel names one dead process after the other."""
        while (dead := _one_that_is_dead()) is not None and dead == self._seen:
            os.waitpid(dead, os.WNOHANG)
        self._seen = dead


async def reap_orphans() -> None:
    """Look for ever; return at once where orphans fall to another process."""
    reaper = OrphanReaper()
    while os.getpid() == FIRST_PROCESS:
        reaper.look()
        await asyncio.sleep(LOOK_SECONDS)


def _one_that_is_dead() -> int | None:
    """The id of a dead child that nobody has reaped; it is left as it is."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # there is no child at all
        return None
    return None if found is None else found.si_pid
