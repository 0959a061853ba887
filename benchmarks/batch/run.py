"""A whole batch on emulated pods: one is lost, one outbid, the results' server is away; does all of it arrive once?"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from comfypod.batch.figures import figures
from comfypod.batch.report.page import report_page
from comfypod.batch.wording import in_dollars, in_percent, in_time
from tests.batch.system.trial import Outcome, Trial, endure
from tests.batch.system.wanted import Wanted

MOST_PROBLEMS = 20


def main(given: Sequence[str]) -> int:
    """Run it, and print what came of it; exit code 1 if anything is missing, doubled, or still rented."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch run", description=__doc__)
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--link-megabits", type=float, default=32.0, help="of the files' server, shared by all pods")
    parser.add_argument("--away-seconds", type=float, default=20.0, help="so long results cannot be sent")
    parser.add_argument("--restart", action="store_true", help="kill the coordinator, too, and start it again")
    parser.add_argument("--folder", type=Path, help="for logs, database and report (default: one that is removed)")
    arguments = parser.parse_args(given)
    trial = Trial(
        Wanted(arguments.items),
        link_bytes_per_second=arguments.link_megabits * 1e6 / 8,
        away_seconds=arguments.away_seconds,
        restart_at=0.55 if arguments.restart else None,
        seconds=300 + 3.0 * arguments.items,
    )
    with ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="batch-")))
        outcome = endure(trial, folder.resolve())
        for line in lines(outcome):
            print(line)
        if arguments.folder:
            (folder / "report.html").write_text(report_page(outcome.account, figures(outcome.account)), "utf-8")
            print(f"report: {folder / 'report.html'}")
    return 1 if outcome.problems() else 0


def lines(outcome: Outcome) -> list[str]:
    """What came of it."""
    account, found, problems = outcome.account, figures(outcome.account), outcome.problems()
    pods = [f"{'-'.join(pod.name.split('-')[-2:])} {pod.end_reason}" for pod in account.pods]
    sent = f"{len(outcome.put_again)} sent once more and not taken, {outcome.refused_while_away} refused while away"
    shares = f"idle {in_percent(found.idle_share)}, set-up {in_percent(found.setup_share)}"
    dollars = f"{in_dollars(found.dollars)} ({in_dollars(account.plan.dollars)} planned)"
    took = f"{in_time(found.elapsed_seconds)} ({in_time(account.plan.seconds)} planned)"
    return [
        f"{outcome.wanted.items} items, {len(outcome.wanted.files())} files: {outcome.seconds:.0f} s",
        f"what happened: {', '.join(outcome.blows)}",
        f"pods: {', '.join(pods)}",
        f"results: {len(outcome.results)} files, {sent}",
        f"downloaded: {outcome.fetched_bytes:,} bytes of {sum(outcome.wanted.files().values()):,}",
        f"wasted runs: {account.wasted_runs}; {shares}; {dollars}; {took}",
        "every item arrived exactly once, and no pod is left" if not problems else f"{len(problems)} PROBLEMS:",
        *problems[:MOST_PROBLEMS],
    ]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
