"""A chart of dollars against waiting, in characters. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from comfypod.batch.wording import in_dollars
from comfypod.fleet.outcome import Outcome
from comfypod.fleet.study import FleetStudy

_WIDTH: Final = 64
_HEIGHT: Final = 14
_MARGIN: Final = 9
OTHER, BEST, CURRENT, RECOMMENDED = "·", "o", "x", "*"


def chart(study: FleetStudy) -> str:
    """Lines: p95 upwards, dollars a day to the right, both logarithmic."""
    dollars = _Axis([outcome.dollars_per_day for outcome in study.outcomes], _WIDTH)
    seconds = _Axis([outcome.p95_seconds for outcome in study.outcomes], _HEIGHT)
    cells = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    for mark, outcomes in _marks(study):  # the last ones lie over the first
        for outcome in outcomes:
            cells[seconds.cell(outcome.p95_seconds)][dollars.cell(outcome.dollars_per_day)] = mark
    lines = []
    for row in reversed(range(_HEIGHT)):
        label = f"{seconds.value(row):.3g} s" if row % 4 == 1 else ""
        lines.append(f"{label:>{_MARGIN - 2}} |" + "".join(cells[row]).rstrip())
    lines.append(" " * (_MARGIN - 1) + "+" + "-" * _WIDTH)
    least, most = in_dollars(dollars.low), in_dollars(dollars.high)
    lines.append(" " * _MARGIN + least + f"{most + ' a day':>{_WIDTH - len(least)}}")
    lines.append(
        f"p95 against dollars: {OTHER} a setting, {BEST} no other beats it, {CURRENT} present, {RECOMMENDED} to take"
    )
    return "\n".join(lines)


def _marks(study: FleetStudy) -> list[tuple[str, Sequence[Outcome]]]:
    found = study.advice.recommended
    return [
        (OTHER, study.outcomes),
        (BEST, study.best),
        (CURRENT, [study.current]),
        (RECOMMENDED, [] if found is None else [found]),
    ]


class _Axis:
    """Values on so many cells, by their logarithms."""

    def __init__(self, values: Sequence[float], cells: int) -> None:
        positive = [max(value, 1e-6) for value in values]
        self.low, self.high = min(positive), max(positive)
        self._span = math.log(self.high / self.low) or 1.0
        self._last = cells - 1

    def cell(self, value: float) -> int:
        """Where a value lies."""
        return round(math.log(max(value, 1e-6) / self.low) / self._span * self._last)

    def value(self, cell: int) -> float:
        """What lies there."""
        return self.low * math.exp(self._span * cell / self._last)
