"""How a command that serves is told to end."""

from __future__ import annotations

import asyncio
import signal


def stop_signal() -> asyncio.Event:
    """Set on SIGINT and SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
