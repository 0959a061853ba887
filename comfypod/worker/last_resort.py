"""The end of a process that was told to end, and in which something hangs. Only the standard library."""

from __future__ import annotations

import os
import signal

END_SECONDS = 8
"""How long everything may take. How long the platform waits is not documented."""


def exit_in_time(seconds: int = END_SECONDS) -> None:
    """Have the process exit with 0 after so long, whatever still hangs: a thread in a system call, a socket, a volume.

    Call it in the main thread; Python itself waits for threads without end. ComfyUI is ended for us then (`Child`).
    """
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.alarm(seconds)
