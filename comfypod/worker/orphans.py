"""Awaiting the end of processes that nobody else awaits, in a container whose first process this is.

What ComfyUI and its node packs start, and leave behind when they end, becomes a child of the first process, and stays
in the process table as a zombie until that one has asked for its exit code.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

LOOK_SECONDS = 2.0
_PROC = Path("/proc")


def reap_orphans_as_first_process() -> None:
    """Look after orphans from now on, in a thread, if this is the container's first process."""
    if os.getpid() == 1:
        threading.Thread(target=_reap_forever, name="orphans", daemon=True).start()


def _reap_forever() -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        reap_orphans()


def reap_orphans() -> None:
    """Await those that have ended.

    Never a child of our own, whose exit code another part of this program wants. It is known by its session: ours, or
    one that it leads. An orphan is in the session of what has started it; one that has made a session of its own cannot
    be told from a child, and stays.
    """
    own_pid, own_session = os.getpid(), os.getsid(0)
    for entry in _PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError, ValueError):  # it is gone meanwhile
            # proc(5), stat: the name is in brackets and may hold anything; then state, parent, group, session.
            state, parent, _, session = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:4]
            pid = int(entry.name)
            if (state, int(parent)) == ("Z", own_pid) and int(session) not in {own_session, pid}:
                os.waitpid(pid, os.WNOHANG)
