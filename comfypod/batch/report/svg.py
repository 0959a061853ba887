"""Pieces of pictures: elements whose every value is escaped, axes, and where on them a value lies. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Final, NamedTuple

from comfypod.batch.wording import in_time, on_one_line

WIDTH: Final = 960.0
_STEPS: Final = (1, 2, 5, 10)
_TIME_STEPS: Final = (
    1,
    2,
    5,
    10,
    20,
    30,
    60,
    120,
    300,
    600,
    1200,
    1800,
    3600,
    7200,
    3 * 3600,
    6 * 3600,
    12 * 3600,
    86400,
)


class Scale(NamedTuple):
    """Where a value lies: ``begin`` and ``end`` are those of the picture for ``low`` and ``high``."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        """Its place; values outside lie on the nearer edge."""
        if self.high <= self.low:
            return self.begin
        share = min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))
        return self.begin + share * (self.end - self.begin)


def element(tag: str, content: str = "", /, **attributes: str | float) -> str:
    """One element; ``content`` is markup, values are not. ``class_`` is class, and ``stroke_width`` stroke-width."""
    named = (f' {name.rstrip("_").replace("_", "-")}="{_value(value)}"' for name, value in attributes.items())
    return f"<{tag}{''.join(named)}>{content}</{tag}>"


def text(words: str, x: float, y: float, *, anchor: str = "start", class_: str = "") -> str:
    """Words in a picture, which say nothing but themselves."""
    return element("text", plain(words), x=x, y=y, text_anchor=anchor, class_=class_)


def hint(words: str) -> str:
    """What is shown where a mouse rests on the element around it, and read aloud."""
    return element("title", plain(words))


def plain(words: str) -> str:
    """Words of whoever wrote them, as text of a page: on one line, of a bounded length, and no markup."""
    return escape(on_one_line(words), quote=True)


def picture(title: str, height: float, parts: Sequence[str]) -> str:
    """A picture as wide as the page; ``title`` is what those hear who do not see it."""
    inner = element("title", plain(title)) + "".join(parts)
    return element("svg", inner, viewBox=f"0 0 {WIDTH:.0f} {height:.0f}", role="img")


def line(points: Sequence[tuple[float, float]], class_: str) -> str:
    """A line through points."""
    return element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=class_)


def area(points: Sequence[tuple[float, float]], base: float, class_: str) -> str:
    """What lies between a line and the base under it."""
    closed = [(points[0][0], base), *points, (points[-1][0], base)] if points else []
    return element("polygon", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in closed), class_=class_)


def time_axis(scale: Scale, top: float, bottom: float) -> str:
    """Hours and minutes since the start below a chart, with lines up into it."""
    span = scale.high - scale.low
    step = next((step for step in _TIME_STEPS if span / step <= 8), 86400 * math.ceil(span / 8 / 86400))
    return _axis(
        [(scale(scale.low + tick), _round_time(tick)) for tick in _multiples(step, span)],
        lambda place, words: (
            element("line", x1=place, x2=place, y1=top, y2=bottom, class_="grid")
            + text(words, place, bottom + 18, anchor="middle", class_="tick")
        ),
    )


def count_axis(scale: Scale, left: float, right: float) -> str:
    """Counts left of a chart, with lines through it."""
    return _axis(
        [(scale(tick), f"{tick:,.0f}") for tick in _multiples(max(1, nice_step(scale.high)), scale.high)],
        lambda place, words: (
            element("line", x1=left, x2=right, y1=place, y2=place, class_="grid")
            + text(words, left - 8, place + 4, anchor="end", class_="tick")
        ),
    )


def nice_step(high: float) -> float:
    """A round step that divides up to ``high`` into at most five parts."""
    if high <= 0:
        return 1
    size: float = 10.0 ** math.floor(math.log10(high / 5))
    return next((size * step for step in _STEPS if high / (size * step) <= 5), size * 10)


def _axis(ticks: Sequence[tuple[float, str]], draw: Callable[[float, str], str]) -> str:
    return "".join(draw(place, words) for place, words in ticks)


def _round_time(seconds: float) -> str:
    """``10 min``, not ``10 min 00 s``."""
    return re.sub(r" 00 \w+$", "", in_time(seconds))


def _multiples(step: float, high: float) -> Sequence[float]:
    return [step * number for number in range(math.floor(high / step + 1e-9) + 1)]


def _value(value: str | float) -> str:
    return escape(value, quote=True) if isinstance(value, str) else f"{value:.1f}"
