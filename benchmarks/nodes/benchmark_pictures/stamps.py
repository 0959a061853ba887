"""When each prompt began and ended, written down by ComfyUI's own process: no worker is asked.

Only the standard library. ``BENCHMARK_JOURNAL`` names the file; a line is ``{"kind", "at"[, "prompt"]}``, ``at`` in
seconds of the machine's monotonic clock, which all its processes share.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

JOURNAL_VARIABLE = "BENCHMARK_JOURNAL"


def stamp(kind: str, **fields: object) -> None:
    """Write one line, at once; nothing happens where nobody wants a journal."""
    at = time.monotonic()
    if path := os.environ.get(JOURNAL_VARIABLE):
        line = json.dumps({"kind": kind, "at": at, **fields}) + "\n"
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)


def stamp_process() -> None:
    """Write down which process this is, and how it was started."""
    stamp("process", pid=os.getpid(), arguments=sys.argv)


def stamped(execute: Callable[..., Any]) -> Callable[..., Any]:
    """``PromptExecutor.execute`` (ComfyUI's execution.py), with a line before and after every prompt."""

    @functools.wraps(execute)
    def wrapper(self: object, prompt: object, prompt_id: str, *arguments: object, **named: object) -> Any:  # noqa: ANN401
        stamp("begin", prompt=prompt_id)
        try:
            return execute(self, prompt, prompt_id, *arguments, **named)
        finally:
            stamp("end", prompt=prompt_id)

    return wrapper
