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
from comfypod.batch.report.html import chart, html_page, note, section, table
from comfypod.batch.report.svg import element, plain
from comfypod.batch.wording import against, in_dollars, in_percent, in_time
from comfypod.storage.models.progress import format_bytes

MOST_ROWS: Final = 1000
"""Of the table of pods."""


def report_page(account: Account, figures: Figures) -> str:
    """The whole page, as HTML."""
    title = f"Batch {account.batch}"
    sections = [
        element("h1", plain(title)),
        element("p", plain(_summary(account)), class_="summary"),
        _tiles(account, figures),
        section("Items over time", _legend_of_items(account) + chart(progress_chart(account, figures))),
        section("What every pod did", _legend_of_purposes() + chart(pods_chart(account)) + _too_many(account)),
        section("What was paid for", chart(dollars_chart(figures)) + _purposes_table(figures)),
        section("The plan, and what happened", _plan_table(account, figures)),
        section("On another GPU", _alternatives(figures)),
        section("Failures", _failures(account)),
        section("Pods", _pods_table(account)),
        note(f"As of {_moment(account.at)}, by comfypod."),
    ]
    return html_page(title, sections)


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


def _tile(name: str, value: str, remark: str) -> str:
    values = element("dd", plain(value), class_="value") + element("dd", plain(remark), class_="note")
    return element("div", element("dt", plain(name)) + values)


def _runs(count: int) -> str:
    return "no run was for nothing" if not count else f"{count:,} {'run' if count == 1 else 'runs'} for nothing"


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
    return note(f"{more} more are in the table below.") if more > 0 else ""


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
    return table(("", "time of all pods", "share", "dollars"), [*rows, total])


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
    return table(("", "planned", "happened", ""), [row for row in rows if row[1] != "-"])


def _alternatives(figures: Figures) -> str:
    if not figures.alternatives:
        return note("Nothing else was on offer, or nothing has been made yet.")
    how = (
        "Dollars per item, estimated: what was made here, at each GPU's own price, set-up and link, and at the speed "
        "that was measured here, or else was promised, as far as promises were kept here."
    )
    return chart(alternatives_chart(figures)) + note(how)


def _failures(account: Account) -> str:
    if not account.failures:
        return note("No item failed.")
    rows = [(f"{failure.items:,}", failure.code, failure.message) for failure in account.failures]
    return table(("items", "code", "of one of them"), rows, class_="words")


def _pods_table(account: Account) -> str:
    columns = ("pod", "GPU", "price", "items", "end", "dollars", "paid", *(WORDS[purpose] for purpose in PURPOSES))
    more = len(account.pods) - MOST_ROWS
    others = note(f"{more} more are in the JSON report.") if more > 0 else ""
    return table(columns, [_pod_row(account, pod) for pod in account.pods[:MOST_ROWS]]) + others


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


def _moment(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
