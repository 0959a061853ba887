"""What was found of a claim, and how figures are written in sentences about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["holds", "depends", "contradicted"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One claim, checked against the study's own figures; ``figures`` are what was computed, by name, unrounded."""

    says: str
    verdict: Verdict
    sentence: str
    figures: Mapping[str, float]


def span(low: str, high: str) -> str:
    """``low-high``, or the one that both are."""
    return low if low == high else f"{low}-{high}"


def hour(*values: float) -> str:
    """Dollars an hour, lowest and highest."""
    return f"${span(f'{min(values):.3f}', f'{max(values):.3f}')}/h"


def each(*values: float) -> str:
    """Dollars for an item, lowest and highest."""
    return f"${span(f'{min(values):.6f}', f'{max(values):.6f}')}"


def percent(*values: float) -> str:
    """Of fractions: ``28-40 %``, lowest and highest."""
    return f"{span(str(round(100 * min(values))), str(round(100 * max(values))))} %"


def compared(*changes: float) -> str:
    """Of fractions, 0.15 is 15 % more: ``2-16 % less``, ``2 % less to 16 % more``."""
    low, high = min(changes), max(changes)
    if high <= 0:
        return f"{percent(-high, -low)} less"
    return f"{percent(low, high)} more" if low >= 0 else f"{percent(-low)} less to {percent(high)} more"
