"""What was measured, and how it is shown: medians with ranges, ratios within one run, tables. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

FLOOR = "floor"
LONGEST_REASON = 200
"""Characters of a failure that a table shows; the file of values has all of them."""


class Execution(NamedTuple):
    """One prompt's execution in ComfyUI: two moments of one clock, in seconds."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


def idle_percent(executions: Sequence[Execution]) -> float:
    """How much of the time between the first one's begin and the last one's end nothing was executed.

    Raises:
        ValueError: there are none.
    """
    begin, end = min(item.begin for item in executions), max(item.end for item in executions)
    return 100 * (1 - sum(item.seconds for item in executions) / (end - begin))


def overhead_ms(taken: float, arrived: float, executions: Sequence[Execution]) -> float:
    """A job's time from being handed out to the last byte of its result, without what ComfyUI executed meanwhile.

    ComfyUI tells a prompt's success as the last thing of its execution, so a quick worker is done before the end.
    """
    executed = sum(max(0.0, min(item.end, arrived) - max(item.begin, taken)) for item in executions)
    return 1000 * (arrived - taken - executed)


def split_ms(taken: float, arrived: float, execution: Execution, timings: Mapping[str, Any]) -> dict[str, float]:
    """Where a job's time went: the platform's and ComfyUI's clocks, and between them what the worker tells of itself.

    What the worker does not know lies at both ends: ``take`` until its handler has the job, ``answer`` after it.
    """
    told = {name.removesuffix("_ms"): float(value) for name, value in timings.items() if name in TOLD}
    before = sum(value for name, value in told.items() if name in {"prepare", "wait", "queue"})
    return {
        "take": 1000 * (execution.begin - taken) - before,
        **told,
        "execute": 1000 * execution.seconds,
        "answer": 1000 * (arrived - execution.end) - told.get("deliver", 0.0),
    }


TOLD = ("prepare_ms", "wait_ms", "queue_ms", "deliver_ms")
"""Of a worker's own timings, in milliseconds, what happens one after the other."""


@dataclass
class Samples:
    """Measured values of one quantity, by case and contender; and why some are missing."""

    unit: str
    digits: int = 0
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    problems: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, case: str, contender: str, value: float) -> None:
        self.values.setdefault(case, {}).setdefault(contender, []).append(value)

    def fail(self, case: str, contender: str, reason: str) -> None:
        self.problems.setdefault(case, {}).setdefault(contender, reason)

    def cell(self, case: str, contender: str) -> str:
        """Median, range, and, of times, the ratio to the floor in the same case; or what went wrong; or nothing."""
        values = self.values.get(case, {}).get(contender, [])
        shown = spread(values, self.unit, self.digits) if values else ""
        if shown and self.unit in {"ms", "s"} and contender != FLOOR and (ratio := self._ratio(case, values)):
            shown += f", x {ratio:.2f}"
        problem = self.problems.get(case, {}).get(contender)
        return shown if problem is None else " ".join(filter(None, (shown, f"FAILED: {problem[:LONGEST_REASON]}")))

    def _ratio(self, case: str, values: Sequence[float]) -> float | None:
        floor = self.values.get(case, {}).get(FLOOR)
        middle = statistics.median(floor) if floor else 0.0
        return statistics.median(values) / middle if middle > 0 else None

    def cases(self) -> list[str]:
        return list(dict.fromkeys([*self.values, *self.problems]))

    def to_json(self) -> dict[str, Any]:
        return {"unit": self.unit, "values": self.values, "problems": self.problems}


def spread(values: Sequence[float], unit: str, digits: int) -> str:
    """``12 ms (11-14)``; a single value has no range."""
    middle = f"{statistics.median(values):,.{digits}f} {unit}".strip()
    return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


@dataclass(frozen=True)
class Table:
    """Rows of text under a title; ``note`` says what was measured, and how."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def lines(self) -> Iterator[str]:
        """As Markdown."""
        yield f"### {self.title}"
        yield ""
        if self.note:
            yield self.note
            yield ""
        yield f"| {' | '.join(self.columns)} |"
        yield "|" + " --- |" * len(self.columns)
        for row in self.rows:
            yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
        yield ""


def table_of(title: str, samples: Samples, contenders: Sequence[str], note: str = "") -> Table:
    """Cases as rows, contenders as columns."""
    rows = [[case, *(samples.cell(case, name) for name in contenders)] for case in samples.cases()]
    return Table(title, ["", *contenders], rows, note)


@dataclass
class Report:
    """What one measure found: tables for people, and every single value."""

    tables: list[Table]
    raw: dict[str, Any]
