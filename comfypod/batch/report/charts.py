"""The charts of a report. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from comfypod.batch.account import Account, PodAccount
from comfypod.batch.documents import Plan, PodPlan
from comfypod.batch.figures import PURPOSES, Figures, Purpose, pod_dollars, pod_spans
from comfypod.batch.report.svg import WIDTH, Scale, area, count_axis, element, hint, line, picture, text, time_axis
from comfypod.batch.wording import in_dollars, in_percent, in_time

WORDS: Final[Mapping[Purpose, str]] = {
    "setup": "set-up",
    "download": "first files",
    "generate": "generate",
    "idle": "idle",
    "other": "last uploads and waiting",
}
MOST_PODS: Final = 60
"""That the timeline shows; the page's table has more."""
MOST_ALTERNATIVES: Final = 12
_LEFT, _RIGHT = 160.0, WIDTH - 24
_CHART_LEFT: Final = 64.0
_ROW: Final = 26.0
_TOP: Final = 14.0


def progress_chart(account: Account, figures: Figures) -> str:
    """Items over time, and where the plan has them."""
    bottom, begin = 264.0, account.started_at
    end = max(account.ended_at or account.at, figures.planned_finish_at, begin + 1)
    across, up = Scale(begin, end, _CHART_LEFT, _RIGHT), Scale(0, max(1, account.plan.items), bottom, _TOP)
    done = [(across(begin), up(0)), *((across(item.at), up(item.succeeded)) for item in account.progress)]
    planned = [(across(begin + seconds), up(items)) for seconds, items in planned_progress(account.plan)]
    failed = [(across(item.at), up(item.failed)) for item in account.progress]
    parts = [
        time_axis(across, _TOP, bottom),
        count_axis(up, _CHART_LEFT, _RIGHT),
        area(done, bottom, "made"),
        line(planned, "planned"),
        line(done, "made-line"),
        line(failed, "failed-line") if account.items.get("failed") else "",
    ]
    succeeded = account.items.get("succeeded", 0)
    return picture(f"Items over time: {succeeded} of {account.plan.items} are made", bottom + 30, parts)


def planned_progress(plan: Plan) -> Sequence[tuple[float, float]]:
    """Seconds since the start, and the items that are to be made by then: every pod at an even pace of its own."""
    moments = sorted({0.0, *(moment for pod in plan.pods for moment in (pod.first_item_seconds, pod.seconds))})
    return [(moment, sum(_planned_items(pod, moment) for pod in plan.pods)) for moment in moments]


def _planned_items(pod: PodPlan, moment: float) -> float:
    lasts = max(1e-9, pod.seconds - pod.first_item_seconds)
    return sum(share.items for share in pod.shares) * min(1.0, max(0.0, (moment - pod.first_item_seconds) / lasts))


def pods_chart(account: Account) -> str:
    """What every pod was paid for, and when and why it ended."""
    shown = account.pods[:MOST_PODS]
    bottom = _TOP + _ROW * max(1, len(shown))
    begin = min([account.started_at, *(pod.rented_at for pod in shown)])
    ends = (account.at if pod.ended_at is None else pod.ended_at for pod in shown)
    across = Scale(begin, max(begin + 1, account.ended_at or account.at, *ends), _LEFT, _RIGHT)
    rows = [_pod_row(account, pod, across, _TOP + _ROW * place) for place, pod in enumerate(shown)]
    return picture(f"{len(shown)} pods over time", bottom + 30, [time_axis(across, _TOP, bottom), *rows])


def _pod_row(account: Account, pod: PodAccount, across: Scale, top: float) -> str:
    spans = [
        element(
            "rect",
            hint(f"{WORDS[span.purpose]}, {in_time(span.end - span.begin)}"),
            x=across(span.begin),
            y=top + 4,
            width=max(0.5, across(span.end) - across(span.begin)),
            height=_ROW - 8,
            class_=span.purpose,
        )
        for span in pod_spans(pod, account.at)
    ]
    described = (
        f"{pod.name}: {pod.gpu}, {pod.price_class}, {in_dollars(pod_dollars(pod, account.at))}, {pod.items} items"
    )
    label = element("g", hint(described) + text(pod_label(pod), _LEFT - 10, top + 17, anchor="end", class_="label"))
    return label + "".join(spans) + _end_of(pod, across, top)


def _end_of(pod: PodAccount, across: Scale, top: float) -> str:
    """A mark where a pod ended before its time, and why."""
    if pod.ended_at is None or pod.end_reason in {None, "over"}:
        return ""
    place = across(pod.ended_at)
    is_far_right = place > _RIGHT - 130
    words = text(
        (pod.end_reason or "")[:24],
        place + (-6 if is_far_right else 6),
        top + 17,
        anchor="end" if is_far_right else "start",
        class_="reason inside" if is_far_right else "reason",
    )
    return element("line", x1=place, x2=place, y1=top + 1, y2=top + _ROW - 1, class_="cut") + words


def pod_label(pod: PodAccount) -> str:
    """``0-2 RTX A4000``: which of the plan's pods, the how-manieth in its place, and its GPU."""
    place = "-".join(pod.name.split("-")[-2:])
    return f"{place[:12]} {pod.gpu.removeprefix('NVIDIA ').removeprefix('GeForce ')[:13]}"


def dollars_chart(figures: Figures) -> str:
    """What the dollars were paid for, as one bar; seconds where nothing costs anything."""
    parts = figures.dollars_by_purpose if figures.dollars else figures.seconds_by_purpose
    whole, height = sum(parts.values()) or 1.0, 44.0
    pieces, place = [], 0.0
    for purpose in PURPOSES:
        width = parts[purpose] / whole * WIDTH
        if width < 0.5:
            continue
        value = in_dollars(parts[purpose]) if figures.dollars else in_time(parts[purpose])
        told = hint(f"{WORDS[purpose]}: {value}, {in_percent(parts[purpose] / whole)}")
        pieces.append(element("rect", told, x=place, y=0.0, width=width, height=height, class_=purpose))
        if width > 90:
            pieces.append(text(value, place + 10, 27, class_=f"on {purpose}"))
        place += width
    return picture("What was paid for", height, pieces)


def alternatives_chart(figures: Figures) -> str:
    """Dollars per item: as it was, as it was planned, and on every other type of GPU."""
    rows: list[tuple[str, float, str]] = [("planned", figures.planned_dollars_per_item, "planned-bar")]
    if figures.dollars_per_item is not None:
        rows.insert(0, ("this batch", figures.dollars_per_item, "generate"))
    rows += [
        (f"{item.offer.gpu}, {item.offer.price_class.replace('_', '-')}", item.dollars_per_item, "estimate")
        for item in figures.alternatives[:MOST_ALTERNATIVES]
    ]
    across = Scale(0, max(value for _, value, _ in rows) or 1, 320, WIDTH - 110)
    parts = []
    for place, (name, value, kind) in enumerate(rows):
        top = _TOP + _ROW * place
        parts.append(text(name[:44], 310, top + 17, anchor="end", class_="label"))
        width = max(1.0, across(value) - 320)
        parts.append(element("rect", x=320.0, y=top + 4, width=width, height=_ROW - 8, class_=kind))
        parts.append(text(in_dollars(value), across(value) + 8, top + 17, class_="label"))
    return picture("Dollars per item", _TOP + _ROW * len(rows) + 6, parts)
