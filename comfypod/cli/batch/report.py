"""``comfypod batch report``: what a batch made, took and cost, as a page with charts or as JSON."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from comfypod.batch.account import Account
from comfypod.batch.figures import Figures, figures
from comfypod.batch.report.page import report_page
from comfypod.batch.store import BatchStore
from comfypod.batch.wording import against, in_dollars, in_percent, in_time
from comfypod.cli.batch.pages import write_page
from comfypod.cli.printing import write_error
from comfypod.cli.reports import print_json, print_text


def report_command(database: str, batch: str | None, output: Path, *, as_json: bool) -> None:
    """Write the page and say where it is, and the most important figures; or print all of them.

    Raises:
        BatchNotFound: there is no such batch.
        StoreOutdated, StoreUnavailable, ConfigurationError: as `BatchStore.open`.
        SavingFailed: the page cannot be written.
    """
    with closing(BatchStore.open(database)) as store:
        account = store.account(store.find(batch).number)
    found = figures(account)
    if as_json:
        print_json({"account": account.model_dump(mode="json"), "figures": found.model_dump(mode="json")})
        return
    write_page(output, report_page(account, found))
    for line in _lines(account, found):
        write_error(line)
    print_text(str(output))


def _lines(account: Account, found: Figures) -> list[str]:
    made, plan = account.items.get("succeeded", 0), account.plan
    failed = account.items.get("failed", 0)
    spent = (in_dollars(found.dollars), f"{in_dollars(found.dollars_per_item)} per item")
    shares = f"{in_percent(found.idle_share)} idle, {in_percent(found.setup_share)} set-up"
    lines = [
        f"batch {account.batch}: {made:,} of {plan.items:,} items, {failed:,} failed",
        ", ".join(filter(None, (*spent, against(found.dollars, plan.dollars)))),
        f"{in_time(found.elapsed_seconds)}, {in_time(plan.seconds)} planned; of the paid time {shares}",
        f"{account.wasted_runs:,} wasted runs",
    ]
    if found.alternatives:
        best = found.alternatives[0]
        lines.append(f"estimated cheapest: {best.offer.gpu}, {in_dollars(best.dollars_per_item)} per item")
    return lines
