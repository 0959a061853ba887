"""How a worker starts, phase by phase. Only the standard library: it is imported before ComfyUI is started."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Self

STARTED_VARIABLE = "COMFYPOD_STARTED"
"""When ``start.sh`` began, in seconds since 1970 (bash's EPOCHREALTIME)."""
LONGEST_SECONDS = 60.0
"""Between ``start.sh`` and Python. What is older was inherited from another start."""


class BootTimeline:
    """When each phase of a start was over, in seconds since the start's first program.

    Phases run beside each other, in several threads; only the first end of each counts, so that a later restart of
    ComfyUI changes nothing. They are: ``python`` (the interpreter and the first imports), ``comfyui_started`` (its
    process), ``settings`` (read, with all that the worker imports), ``sdk_imported``, ``comfyui_answers``,
    ``self_test``, ``models`` (those that are wanted at boot), ``warm_up``, ``ready``.
    """

    def __init__(self, begun: float | None = None) -> None:
        """``begun`` is a moment on the monotonic clock; None: now."""
        self._begun = time.monotonic() if begun is None else begun
        self._seconds: dict[str, float] = {}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Begun when ``start.sh`` says it began, else now."""
        try:
            ago = time.time() - float(environment[STARTED_VARIABLE].replace(",", "."))
        except (KeyError, ValueError):
            return cls()
        return cls(time.monotonic() - ago if 0 <= ago <= LONGEST_SECONDS else None)

    def mark(self, phase: str) -> None:
        """The phase is over."""
        self._seconds.setdefault(phase, time.monotonic() - self._begun)

    def seconds(self) -> dict[str, float]:
        """The phases that are over, in their order."""
        return {phase: round(seconds, 3) for phase, seconds in sorted(self._seconds.items(), key=lambda item: item[1])}

    def milliseconds(self) -> dict[str, int]:
        """The same for a job's answer."""
        return {phase: round(seconds * 1000) for phase, seconds in self.seconds().items()}
