"""How far plans are from the best that can be: random batches against an exact solver, and beside other rules.

The exact solver looks at every way to bring whole checkpoints together on pods, each on the offer that is cheapest for
it. Without a deadline nothing is taken apart, so that it is the optimum of this model.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from benchmarks.batch.instances import MIXED, Shape, a4000, catalogue, rows
from comfypod.batch.documents import GIGABYTE, Offer
from comfypod.batch.planning import Demands, LearnedSpeeds, gather, make_plan
from comfypod.batch.planning.bound import lower_bound
from comfypod.batch.planning.drafts import Draft, together
from comfypod.batch.planning.exact import best_partition
from comfypod.batch.planning.lots import make_lots
from comfypod.batch.planning.market import Market
from comfypod.batch.planning.savings import save
from comfypod.batch.planning.table import make_table

HOUR = 3600.0
Rule = Callable[[Sequence[Draft]], Sequence[Draft]]


def main() -> int:
    """Print the tables."""
    arguments = _parser().parse_args()
    print_gaps([instance(seed) for seed in range(arguments.instances)])
    if not arguments.quick:
        print_deadlines()
    return 0


def instance(seed: int) -> list[Draft]:
    """A random batch of 2 to 12 checkpoints, a pod for each: between a few minutes and a day of work."""
    chance = random.Random(seed)  # noqa: S311 (no secret: the same batch again)
    shape = Shape(
        checkpoints=chance.randint(2, 12),
        items=round(10 ** chance.uniform(1.5, 4.0)),
        loras=chance.choice((0, 10, 40)),
        families=MIXED,
        zipf=chance.uniform(0.3, 1.3),
    )
    setup = chance.choice((120.0, 480.0, 900.0))
    link = chance.choice((200e6, 800e6, 1576e6)) / 8
    offers = [offer.model_copy(update={"setup_seconds": setup, "download_bytes_per_second": link}) for offer in OFFERS]
    workload = gather("gaps", rows(shape, seed))
    assets = catalogue(shape, seed)
    kept = tuple(offers[: chance.randint(1, len(offers))])
    market = Market(kept, assets, make_table(workload, assets), Demands(), LearnedSpeeds())
    return [Draft(market, (lot,)) for lot in make_lots(market)]


OFFERS: Sequence[Offer] = (
    a4000(),
    a4000(gpu="A40", dollars_per_hour=0.27, megapixel_steps_per_second=3.0, memory_bytes=48 * GIGABYTE),
    a4000(gpu="spot", dollars_per_hour=0.09, price_class="interruptible", interruptions_per_hour=0.5),
)


def one_each(alone: Sequence[Draft]) -> Sequence[Draft]:
    """One checkpoint a pod."""
    return alone


def article(alone: Sequence[Draft]) -> Sequence[Draft]:
    """One checkpoint a pod, but what is less than an hour's work is put together until it is one."""
    pods: list[Draft] = []
    for pod in sorted(alone, key=_hours, reverse=True):
        last = pods[-1] if pods else None
        if last is not None and _hours(last) < 1:
            both = Draft(pod.market, together((*last.lots, *pod.lots)))
            if both.prices:
                pods[-1] = both
                continue
        pods.append(pod)
    return pods


def everything(alone: Sequence[Draft]) -> Sequence[Draft]:
    """As few pods as the cap allows."""
    pods: list[Draft] = []
    for pod in alone:
        both = Draft(pod.market, together((*pods[-1].lots, *pod.lots))) if pods else pod
        if pods and both.prices:
            pods[-1] = both
        else:
            pods.append(pod)
    return pods


RULES: Mapping[str, Rule] = {
    "savings (ours)": save,
    "the article's rule": article,
    "one checkpoint a pod": one_each,
    "as few pods as the cap allows": everything,
}


def print_gaps(instances: Sequence[Sequence[Draft]]) -> None:
    """Each rule's distance from the exact solution, and the exact solution's from the bound."""
    gaps: dict[str, list[tuple[int, float]]] = {name: [] for name in [*RULES, "bound below exact"]}
    for alone in instances:
        best = _dollars(best_partition(alone))
        for name, rule in RULES.items():
            gaps[name].append((len(alone), 100 * (_dollars(rule(alone)) / best - 1)))
        bound = lower_bound(alone[0].market, [lot for pod in alone for lot in pod.lots]).dollars
        gaps["bound below exact"].append((len(alone), 100 * (1 - bound / best)))
    print(f"{len(instances)} random batches, dollars above the exact solution, in percent:\n")
    print("| rule | mean | median | 95th of 100 | worst | exactly the best |\n| --- | --- | --- | --- | --- | --- |")
    for name, pairs in gaps.items():
        values = sorted(gap for _, gap in pairs)
        print(
            f"| {name} | {statistics.mean(values):.2f} | {statistics.median(values):.2f} "
            f"| {values[int(0.95 * (len(values) - 1))]:.2f} | {values[-1]:.2f} "
            f"| {sum(1 for value in values if value < 1e-6)} |"
        )
    print(
        "\nSavings by the number of checkpoints:\n\n| checkpoints | batches | mean | worst |\n| --- | --- | --- | --- |"
    )
    for count, found in groupby(sorted(gaps["savings (ours)"]), key=lambda pair: pair[0]):
        values = [gap for _, gap in found]
        print(f"| {count} | {len(values)} | {statistics.mean(values):.2f} | {max(values):.2f} |")


def print_deadlines() -> None:
    """Set-up time against deadline, as a table of dollars and pods, of one batch."""
    shape = Shape(checkpoints=12, items=6000, families=MIXED)
    assets, workload = catalogue(shape, 7), gather("deadlines", rows(shape, 7))
    hours = (1.0, 2.0, 3.5, 6.0, None)
    gigabytes = sum(asset.size_bytes for asset in assets.values()) / GIGABYTE
    work = workload.work / a4000().megapixel_steps_per_second / HOUR
    print(
        f"\n{workload.items:,} items, 12 checkpoints, {gigabytes:.0f} GB, {work:.1f} GPU hours on an A4000 at $0.12: "
        "dollars (pods), above the bound\n"
    )
    print(f"| set-up | {' | '.join('none' if hour is None else f'{hour:g} h' for hour in hours)} |\n|{' --- |' * 6}")
    for setup in (120.0, 480.0, 900.0, 1800.0):
        cells = []
        for hour in hours:
            demands = Demands(deadline_seconds=None if hour is None else hour * HOUR)
            plan = make_plan(workload, assets, [a4000(setup_seconds=setup)], demands)
            above = 100 * (plan.dollars / plan.bound_dollars - 1)
            cells.append(f"{plan.dollars:.3f} ({len(plan.pods)}), {above:.1f} %")
        print(f"| {setup / 60:.0f} min | {' | '.join(cells)} |")


def _hours(pod: Draft) -> float:
    return pod.price.seconds / HOUR


def _dollars(pods: Sequence[Draft]) -> float:
    return sum(pod.price.dollars for pod in pods)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch gaps", description=__doc__)
    parser.add_argument("--instances", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="only the comparison with the exact solver")
    return parser


if __name__ == "__main__":
    sys.exit(main())
