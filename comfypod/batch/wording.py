"""Dollars, durations, shares and names as tables, charts and the live view write them: everywhere the same. Pure."""

from __future__ import annotations

import math


def in_dollars(value: float | None) -> str:
    """``$12.30``; parts of a dollar keep three digits that count, ``$0.000412``, the smallest two."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0 or abs(value) >= 0.995:
        return f"${value:,.2f}"
    power = math.floor(math.log10(abs(value)))
    digits = min(9, (2 if power > -5 else 1) - power)
    return f"${value:.{digits}f}"


def in_time(seconds: float | None) -> str:
    """``42 s``, ``7 min 05 s``, ``3 h 20 min``, ``4 d 06 h``."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    sign, whole = ("-" if seconds <= -0.5 else ""), round(abs(seconds))
    if whole < 60:
        return f"{sign}{whole} s"
    if whole < 3600:
        return f"{sign}{whole // 60} min {whole % 60:02d} s"
    if whole < 100 * 3600:
        return f"{sign}{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{sign}{whole // 86400} d {whole % 86400 // 3600:02d} h"


def in_percent(share: float | None) -> str:
    """``12 %``, and ``1.2 %`` where it is less than ten."""
    if share is None or not math.isfinite(share):
        return "-"
    return f"{share:.0%}".replace("%", " %") if abs(share) >= 0.0995 else f"{share:.1%}".replace("%", " %")


def against(value: float | None, planned: float | None) -> str:
    """How far a value is from the planned one: ``+12 % against plan``; empty if there is nothing to compare."""
    if value is None or not planned or not math.isfinite(value):
        return ""
    change = value / planned - 1
    return (
        "as planned" if abs(change) < 0.005 else f"{'+' if change > 0 else '-'}{in_percent(abs(change))} against plan"
    )


def on_one_line(text: str, most: int = 200) -> str:
    """What comes from elsewhere, without control characters, and cut where it is too long."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    return plain if len(plain) <= most else plain[: most - 1] + "…"
