"""A simulation as one page: its chart and tables, without scripts and without anything from elsewhere. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from comfypod.batch.report.html import chart, html_page, note, section, table
from comfypod.batch.report.svg import WIDTH, Scale, element, hint, line, picture, plain, text
from comfypod.batch.wording import in_dollars, in_percent
from comfypod.fleet.frontier import distinct
from comfypod.fleet.outcome import Outcome
from comfypod.fleet.study import FleetStudy

_HEIGHT: Final = 420.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 70.0, WIDTH - 20.0, 20.0, _HEIGHT - 50.0
_LEGEND: Final = (
    "Each point is one setting: blue, those that no other beats; orange, the present one; ringed in red, the one to "
    "take. Both axes are logarithmic."
)
_STEPS: Final = ((1.0, 2.0, 5.0), tuple(map(float, range(1, 10))), tuple(step / 10 for step in range(10, 100)))
_STYLE: Final = """
circle.point{fill:var(--other)}circle.best{fill:var(--generate)}
circle.current{fill:var(--idle)}circle.recommended{fill:none;stroke:var(--bad);stroke-width:2}
.warning{border-left:.3rem solid var(--bad);padding-left:.8rem}
"""


def study_page(study: FleetStudy) -> str:
    """The whole page, as HTML."""
    title = "Settings of an endpoint: what they cost, and how long callers wait"
    calibration, columns = study.calibration, ("", *COLUMNS)
    best = [(str(outcome.settings), *figures(outcome)) for outcome in distinct(study.best)]
    changed = [(f"{study.current.settings}, as it is", *figures(study.current))]
    changed += [(name, *figures(outcome)) for name, outcome in study.what_ifs]
    content = [
        element("h1", plain(title)),
        element("p", plain(study.traffic), class_="summary"),
        element("p", plain(calibration.verdict), class_="summary" if calibration.is_calibrated else "warning"),
        *(element("p", plain(sentence)) for sentence in study.advice.sentences),
        section("Dollars against waiting", chart(_chart(study)), note(_LEGEND)),
        section("Those that no other beats", table(columns, best)),
        section("The present settings, and what else would change them", table(columns, changed)),
        section("Measured, and assumed", element("ul", "".join(element("li", plain(words)) for words in study.notes))),
    ]
    return html_page(title, content, _STYLE)


def _chart(study: FleetStudy) -> str:
    across = _logarithmic([outcome.dollars_per_day for outcome in study.outcomes], _LEFT, _RIGHT)
    up = _logarithmic([outcome.p95_seconds for outcome in study.outcomes], _BOTTOM, _TOP)

    def place(outcome: Outcome) -> tuple[float, float]:
        return across(_log(outcome.dollars_per_day)), up(_log(outcome.p95_seconds))

    best = set(study.best)
    parts = [_grid(across, up), line([place(outcome) for outcome in study.best], "made-line")]
    parts += [_point(each, place(each), "point") for each in study.outcomes[1:] if each not in best]
    parts += [_point(each, place(each), "best") for each in study.best]
    parts.append(_point(study.current, place(study.current), "current", 7.0))
    if study.advice.recommended is not None:
        parts.append(_point(study.advice.recommended, place(study.advice.recommended), "recommended", 9.0))
    parts += [
        text("dollars a day", (_LEFT + _RIGHT) / 2, _HEIGHT - 8, anchor="middle", class_="tick"),
        text("p95, seconds", 8, _TOP - 6, class_="tick"),
    ]
    return picture("Dollars a day against p95 of every setting", _HEIGHT, parts)


def _point(outcome: Outcome, place: tuple[float, float], kind: str, radius: float = 5.0) -> str:
    told = f"{outcome.settings}: {in_dollars(outcome.dollars_per_day)} a day, p95 {outcome.p95_seconds:.1f} s"
    return element("circle", hint(told), cx=place[0], cy=place[1], r=radius, class_=kind)


def _grid(across: Scale, up: Scale) -> str:
    lines = [
        element("line", x1=across(_log(value)), x2=across(_log(value)), y1=_TOP, y2=_BOTTOM, class_="grid")
        + text(in_dollars(value), across(_log(value)), _BOTTOM + 18, anchor="middle", class_="tick")
        for value in _ticks(across)
    ]
    lines += [
        element("line", x1=_LEFT, x2=_RIGHT, y1=up(_log(value)), y2=up(_log(value)), class_="grid")
        + text(f"{value:g} s", _LEFT - 8, up(_log(value)) + 4, anchor="end", class_="tick")
        for value in _ticks(up)
    ]
    return "".join(lines)


def _logarithmic(values: Iterable[float], begin: float, end: float) -> Scale:
    logs = [_log(value) for value in values]
    return Scale(min(logs) - 0.1, max(logs) + 0.1, begin, end)


def _log(value: float) -> float:
    return math.log10(max(value, 1e-6))


def _ticks(scale: Scale) -> list[float]:
    """Round values that lie within: 1, 2 and 5 of every power of ten, or more of them where those are few."""
    powers = range(math.floor(scale.low), math.ceil(scale.high) + 1)
    ticks: list[float] = []
    for steps in _STEPS:
        values = [step * 10.0**power for power in powers for step in steps]
        ticks = [value for value in values if scale.low <= _log(value) <= scale.high]
        if len(ticks) >= 3:
            break
    return ticks


COLUMNS: Final = ("$ a day", "$ each", "p50", "p95", "p99", "used", "first runs", "workers")


def figures(outcome: Outcome) -> tuple[str, ...]:
    """What is told of an outcome, one for each column: dollars, waiting, use."""
    return (
        in_dollars(outcome.dollars_per_day),
        in_dollars(outcome.dollars_per_request),
        f"{outcome.p50_seconds:.1f} s",
        f"{outcome.p95_seconds:.1f} s" + ("" if outcome.keeps_up else ", and growing"),
        f"{outcome.p99_seconds:.1f} s",
        in_percent(outcome.used_share),
        in_percent(outcome.cold_share),
        f"{outcome.most_workers}",
    )
