"""A command of comfypod that serves, started as a process of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

from comfypod.child import Child

START_SECONDS = 60.0


def serve(
    *arguments: str, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> tuple[Child, str]:
    """Start ``comfypod`` with ``arguments``; it, and the address in its line ``ready <address>``."""
    lines: list[str] = []
    command = [sys.executable, "-m", "comfypod", *arguments]
    child = Child(command, on_line=lines.append, environment=environment, folder=folder)
    deadline = time.monotonic() + START_SECONDS
    while child.exit_code is None and time.monotonic() < deadline:
        for line in lines:
            if line.startswith("ready "):
                return child, line.split()[1]
        time.sleep(0.02)
    child.stop(grace_seconds=1)
    raise AssertionError("\n".join(["it did not start:", *arguments, *lines]))
