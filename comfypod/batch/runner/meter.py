"""What the GPU did since the pod's start: worked, or waited though there was something left to make. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class GPUMeter:
    """Call `look` whenever something changes, and before its figures are read.

    ``busy_seconds`` are those in which ComfyUI executed, as it told itself; ``idle_seconds`` those in which nothing was
    being made, though there was something left.
    """

    busy_seconds: float = 0.0
    idle_seconds: float = 0.0
    _idle_since: float | None = None

    def look(self, now: float, *, making: int, is_left: bool) -> None:
        """``making`` items are under way, and ``is_left`` says whether there is something to make or to wait for."""
        if self._idle_since is not None:
            self.idle_seconds += now - self._idle_since
        self._idle_since = now if is_left and not making else None

    def work(self, seconds: float) -> None:
        """An item took the GPU for so long."""
        self.busy_seconds += seconds
