"""The report as one page: figures, charts and tables, without scripts and without anything from elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from comfypod.batch.account import Account, PodAccount
from comfypod.batch.figures import PURPOSES, Figures, pod_dollars, pod_seconds
from comfypod.batch.report.charts import (
    MOST_PODS,
    WORDS,
    alternatives_chart,
    dollars_chart,
    pods_chart,
    progress_chart,
)
from comfypod.batch.report.style import STYLE
from comfypod.batch.report.svg import element, plain
from comfypod.batch.wording import against, in_dollars, in_percent, in_time
from comfypod.storage.models.progress import format_bytes

MOST_ROWS: Final = 1000
"""Of the table of pods."""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""Whatever a name might smuggle in, nothing is run or fetched."""


def report_page(account: Account, figures: Figures) -> str:
    """The whole page, as HTML."""
    title = f"Batch {account.batch}"
    sections = [
        element("h1", plain(title)),
        element("p", plain(_summary(account)), class_="summary"),
        _tiles(account, figures),
        _section("Items over time", _legend_of_items(account) + _chart(progress_chart(account, figures))),
        _section("What every pod did", _legend_of_purposes() + _chart(pods_chart(account)) + _too_many(account)),
        _section("What was paid for", _chart(dollars_chart(figures)) + _purposes_table(figures)),
        _section("The plan, and what happened", _plan_table(account, figures)),
        _section("On another GPU", _alternatives(figures)),
        _section("Failures", _failures(account)),
        _section("Pods", _pods_table(account)),
        element("p", plain(f"As of {_moment(account.at)}, by comfypod."), class_="note"),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{plain(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _summary(account: Account) -> str:
    made, items = account.items.get("succeeded", 0), account.plan.items
    failed, left = account.items.get("failed", 0), sum(account.items.get(key, 0) for key in ("waiting", "leased"))
    parts = [f"{made:,} of {items:,} items made" + (f", {failed:,} failed" if failed else "")]
    parts += [f"{left:,} left, {account.state}"] if left else []
    until = f"to {_moment(account.ended_at)}" if account.ended_at else "and still going on"
    return f"{'; '.join(parts)}. From {_moment(account.started_at)} {until}."


def _tiles(account: Account, figures: Figures) -> str:
    plan = account.plan
    finish = None if figures.finish_at is None else figures.finish_at - account.started_at
    tiles = [
        ("Dollars", in_dollars(figures.dollars), against(figures.dollars, plan.dollars)),
        ("Per item", in_dollars(figures.dollars_per_item), f"{in_dollars(figures.planned_dollars_per_item)} planned"),
        ("Took" if account.ended_at else "Will take", in_time(finish), f"{in_time(plan.seconds)} planned"),
        ("Idle", in_percent(figures.idle_share), "waited though there was work"),
        ("Set-up", in_percent(figures.setup_share), "until a pod's first item"),
        ("Wasted", in_percent(figures.wasted_share), _runs(account.wasted_runs)),
    ]
    return element("dl", "".join(_tile(*tile) for tile in tiles), class_="tiles")


def _tile(name: str, value: str, note: str) -> str:
    values = element("dd", plain(value), class_="value") + element("dd", plain(note), class_="note")
    return element("div", element("dt", plain(name)) + values)


def _runs(count: int) -> str:
    return "no run was for nothing" if not count else f"{count:,} {'run' if count == 1 else 'runs'} for nothing"


def _section(title: str, content: str) -> str:
    return element("section", element("h2", plain(title)) + content)


def _chart(drawn: str) -> str:
    return element("div", drawn, class_="chart")


def _legend(entries: Iterable[tuple[str, str]]) -> str:
    return element(
        "ul",
        "".join(element("li", element("i", class_=f"key {kind}") + plain(words)) for kind, words in entries),
        class_="legend",
    )


def _legend_of_items(account: Account) -> str:
    failed = [("failed-line", "failed")] if account.items.get("failed") else []
    return _legend([("made-line", "made"), ("planned", "planned"), *failed])


def _legend_of_purposes() -> str:
    return _legend((purpose, WORDS[purpose]) for purpose in PURPOSES)


def _too_many(account: Account) -> str:
    more = len(account.pods) - MOST_PODS
    return element("p", plain(f"{more} more are in the table below."), class_="note") if more > 0 else ""


def _purposes_table(figures: Figures) -> str:
    rows = [
        (
            WORDS[purpose],
            in_time(figures.seconds_by_purpose[purpose]),
            in_percent(figures.share(purpose)),
            in_dollars(figures.dollars_by_purpose[purpose]),
        )
        for purpose in PURPOSES
    ]
    total = ("all", in_time(figures.paid_seconds), "", in_dollars(figures.dollars))
    return _table(("", "time of all pods", "share", "dollars"), [*rows, total])


def _plan_table(account: Account, figures: Figures) -> str:
    plan = account.plan
    took = None if figures.finish_at is None else figures.finish_at - account.started_at
    made = account.items.get("succeeded", 0)
    rows = [
        ("dollars", in_dollars(plan.dollars), in_dollars(figures.dollars), against(figures.dollars, plan.dollars)),
        (
            "dollars per item",
            in_dollars(figures.planned_dollars_per_item),
            in_dollars(figures.dollars_per_item),
            against(figures.dollars_per_item, figures.planned_dollars_per_item),
        ),
        ("time", in_time(plan.seconds), in_time(took), against(took, plan.seconds)),
        ("items", f"{plan.items:,}", f"{made:,}", ""),
        ("pods rented", str(len(plan.pods)), str(len(account.pods)), ""),
        ("no plan can be below", in_dollars(plan.bound_dollars), "", ""),
        ("deadline", in_time(plan.deadline_seconds), in_time(took), ""),
        ("budget", in_dollars(plan.budget_dollars), in_dollars(figures.dollars), ""),
        ("files delivered", "", f"{account.files:,}, {format_bytes(account.file_bytes)}", ""),
    ]
    return _table(("", "planned", "happened", ""), [row for row in rows if row[1] != "-"])


def _alternatives(figures: Figures) -> str:
    if not figures.alternatives:
        return element("p", plain("Nothing else was on offer, or nothing has been made yet."), class_="note")
    note = (
        "Dollars per item, estimated: what was made here, at each GPU's own price, set-up and link, and at the speed "
        "that was measured here, or else was promised, as far as promises were kept here."
    )
    return _chart(alternatives_chart(figures)) + element("p", plain(note), class_="note")


def _failures(account: Account) -> str:
    if not account.failures:
        return element("p", plain("No item failed."), class_="note")
    rows = [(f"{failure.items:,}", failure.code, failure.message) for failure in account.failures]
    return _table(("items", "code", "of one of them"), rows, class_="words")


def _pods_table(account: Account) -> str:
    columns = ("pod", "GPU", "price", "items", "end", "dollars", "paid", *(WORDS[purpose] for purpose in PURPOSES))
    more = len(account.pods) - MOST_ROWS
    note = element("p", plain(f"{more} more are in the JSON report."), class_="note") if more > 0 else ""
    return _table(columns, [_pod_row(account, pod) for pod in account.pods[:MOST_ROWS]]) + note


def _pod_row(account: Account, pod: PodAccount) -> Sequence[str]:
    seconds = pod_seconds(pod, account.at)
    return (
        pod.name,
        pod.gpu,
        f"{in_dollars(pod.dollars_per_hour)}/h {pod.price_class.replace('_', '-')}",
        f"{pod.items:,}",
        pod.end_reason or ("running" if pod.ended_at is None else ""),
        in_dollars(pod_dollars(pod, account.at)),
        in_time(sum(seconds.values())),
        *(in_time(seconds[purpose]) for purpose in PURPOSES),
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], class_: str = "") -> str:
    head = element("thead", element("tr", "".join(element("th", plain(name), scope="col") for name in columns)))
    body = element("tbody", "".join(_row(row) for row in rows))
    return element("div", element("table", head + body, class_=class_), class_="scroll")


def _row(cells: Sequence[str]) -> str:
    first = element("th", plain(cells[0]), scope="row")
    return element("tr", first + "".join(element("td", plain(cell)) for cell in cells[1:]))


def _moment(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
