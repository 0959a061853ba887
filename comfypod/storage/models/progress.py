"""What is told while a model file is brought."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["waiting", "downloading", "checking"]

_UNITS = ("bytes", "KB", "MB", "GB", "TB")


@dataclass(frozen=True, slots=True)
class ModelProgress:
    """How far one model file is; ``total_bytes`` is None where the source does not tell.

    ``waiting``: another worker is downloading it to the same folder. ``checking``: its SHA-256 is computed.
    """

    model: str
    stage: Stage
    received_bytes: int = 0
    total_bytes: int | None = None

    @property
    def message(self) -> str:
        """One line for a person."""
        if self.stage == "waiting":
            return f"{self.model}: another worker is downloading it"
        if self.stage == "checking":
            return f"{self.model}: checking"
        total = "" if self.total_bytes is None else f" of {format_bytes(self.total_bytes)}"
        return f"{self.model}: {format_bytes(self.received_bytes)}{total}"


OnModelProgress = Callable[[ModelProgress], None]


class Report:
    """Tells how far one model is."""

    def __init__(self, model: str, tell: OnModelProgress) -> None:
        self._model = model
        self._tell = tell

    def __call__(self, stage: Stage, received_bytes: int, total_bytes: int | None) -> None:
        """Tell it; a caller of `ModelStore.fetch` thins this out as it needs."""
        self._tell(ModelProgress(self._model, stage, received_bytes, total_bytes))


def format_bytes(count: int) -> str:
    """``6.9 GB``; decimal units, as sources show them."""
    value = float(count)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError
