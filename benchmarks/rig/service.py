"""A server of the rig's own, as a process."""

from __future__ import annotations

import queue
import sys
from contextlib import ExitStack

from benchmarks.rig.contenders import ROOT
from comfypod.child import Child

START_SECONDS = 60.0
STOP_SECONDS = 10.0


def start_service(stack: ExitStack, module: str) -> str:
    """Start the module's server, to be ended with the stack; its first line."""
    lines: queue.Queue[str] = queue.Queue()
    child = Child([sys.executable, "-m", module], on_line=lines.put, folder=ROOT)
    stack.callback(child.stop, STOP_SECONDS)
    return lines.get(timeout=START_SECONDS)
