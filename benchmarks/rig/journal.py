"""Reading what ComfyUI's process wrote down: see ``benchmarks/nodes/benchmark_pictures/stamps.py``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.figures import Execution

LOOK_SECONDS = 0.005


class Journal:
    """The stamps of one ComfyUI, in the order in which they were written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def stamps(self) -> list[dict[str, Any]]:
        text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def executions(self, since: float = 0.0) -> list[Execution]:
        """Every prompt that began after ``since`` and has ended."""
        return executions(stamp for stamp in self.stamps() if stamp["at"] >= since)

    def process(self) -> dict[str, Any]:
        """``{"pid", "arguments"}`` of the newest ComfyUI.

        Raises:
            LookupError: none has written anything.
        """
        found = [stamp for stamp in self.stamps() if stamp["kind"] == "process"]
        if not found:
            raise LookupError(f"no ComfyUI has written to {self._path}")
        return found[-1]

    def wait_for(self, kind: str, since: float, timeout_seconds: float) -> float | None:
        """The moment of the first stamp of this kind after ``since``; None: there was none in time."""
        latest = time.monotonic() + timeout_seconds
        while time.monotonic() < latest:
            for stamp in self.stamps():
                if stamp["kind"] == kind and stamp["at"] > since:
                    return float(stamp["at"])
            time.sleep(LOOK_SECONDS)
        return None


def executions(stamps: Iterable[dict[str, Any]]) -> list[Execution]:
    """Pairs of begin and end of the same prompt; one without the other is none."""
    begun: dict[str, float] = {}
    found = []
    for stamp in stamps:
        if stamp["kind"] == "begin":
            begun[stamp["prompt"]] = stamp["at"]
        elif stamp["kind"] == "end" and stamp["prompt"] in begun:
            found.append(Execution(begun.pop(stamp["prompt"]), stamp["at"]))
    return found
