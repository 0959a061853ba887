"""In which order one pod fetches and makes: other people's policies, ours, and the best that can be.

Policies: everything first; the article as it is coded (items by the sum of their LoRAs, checkpoints not counted) and as
it is described (items by all of their files), both with whatever is ready, checkpoint after checkpoint; Johnson's rule
on checkpoints; and what ``best_order`` finds for each objective.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.batch.instances import MIXED, SDXL, Family, Shape, catalogue, rows
from comfypod.batch.planning import gather
from comfypod.batch.planning.ordering import policies
from comfypod.batch.planning.ordering.queue import Order, Outcome, Queue, Task, simulate
from comfypod.batch.planning.ordering.search import best_order

LOAD_SECONDS, PATCH_SECONDS = 8.0, 0.7
SEEDS = 5


@dataclass(frozen=True)
class Case:
    """A queue: what is made, and over which link."""

    name: str
    shape: Shape
    megabits: float
    work_per_second: float = 1.6


CASES = (
    Case("4 SDXL, 2,300 items, 1576 Mbit/s", Shape(4, 2300), 1576),
    Case("6 mixed, 2,300 items, 1576 Mbit/s", Shape(6, 2300, families=MIXED), 1576),
    Case("6 mixed, 150 items, 1576 Mbit/s", Shape(6, 150, families=MIXED), 1576),
    Case("6 mixed, 150 items, 200 Mbit/s", Shape(6, 150, families=MIXED), 200),
    Case("10 mixed, 1,000 items of 1.5 s, 400 Mbit/s", Shape(10, 1000, loras=60, families=MIXED), 400, 20.0),
)


def main() -> int:
    """Print the tables."""
    arguments = _parser().parse_args()
    print("Mean of five queues of each kind. Above the bound: of its time, and of its mean completion.\n")
    print("| queue | policy | first item s | of the earliest | GPU idle s | time | mean completion |")
    print("|" + " --- |" * 7, flush=True)
    for case in CASES:
        _print_case(case)
    _print_tiny(arguments.tiny)
    return 0


def queue_of(case: Case, seed: int) -> Queue:
    """A queue of this kind."""
    assets, workload = catalogue(case.shape, seed), gather("orders", rows(case.shape, seed))
    numbers: dict[str, int] = {}
    tasks = [
        Task(
            tuple(numbers.setdefault(key, len(numbers)) for key in group.signature.bases),
            tuple(numbers.setdefault(key, len(numbers)) for key in group.signature.patches),
            group.items,
            group.work / group.items / case.work_per_second,
        )
        for group in workload.groups
    ]
    seconds = tuple(assets[key].size_bytes * 8 / (case.megabits * 1e6) for key in numbers)
    return Queue(tuple(tasks), seconds, LOAD_SECONDS, PATCH_SECONDS)


def outcomes(queue: Queue) -> Mapping[str, Outcome]:
    """What becomes of a queue by every policy."""
    order, ready = policies.all_first(queue)
    return {
        "all first": simulate(queue, order, ready=ready),
        "article as coded": simulate(queue, policies.order_by(queue, policies.by_patches)),
        "article as described": simulate(queue, policies.order_by(queue, policies.by_closure)),
        "Johnson on checkpoints": simulate(queue, policies.order_by(queue, policies.johnson)),
        "ours, cost": best_order(queue, "cost").outcome,
        "ours, balanced": best_order(queue, "balanced").outcome,
        "ours, early": best_order(queue, "early").outcome,
    }


def bounds(queue: Queue) -> tuple[float, float]:
    """No order takes less time, nor has a smaller mean completion."""
    tasks = queue.tasks
    begin = queue.smallest_first_item - tasks[queue.quickest].item_seconds
    loads = LOAD_SECONDS * (len({task.bases for task in tasks}) - 1)
    patches = PATCH_SECONDS * max(0, sum(1 for task in tasks if task.patches) - 1)
    shortest = begin + loads + patches + sum(task.seconds for task in tasks)
    last = queue.download_seconds + min(task.item_seconds for task in tasks)
    now, completions, items = begin, 0.0, 0
    for seconds, count in sorted((task.item_seconds, task.items) for task in tasks):
        completions += count * now + seconds * count * (count + 1) / 2
        now, items = now + seconds * count, items + count
    return max(shortest, last), completions / items


def _print_case(case: Case) -> None:
    found: dict[str, list[tuple[float, ...]]] = {}
    sizes, works = [], []
    for seed in range(SEEDS):
        queue = queue_of(case, seed)
        time, mean = bounds(queue)
        sizes.append(queue.download_seconds * case.megabits / 8000)
        works.append(sum(task.seconds for task in queue.tasks) / 3600)
        for name, outcome in outcomes(queue).items():
            found.setdefault(name, []).append(
                (
                    outcome.first_item,
                    outcome.first_item / queue.smallest_first_item,
                    outcome.idle,
                    100 * (outcome.makespan / time - 1),
                    100 * (outcome.mean_completion / mean - 1),
                )
            )
    label = f"{case.name}; {statistics.mean(sizes):.0f} GB, {statistics.mean(works):.1f} h"
    for name, values in found.items():
        first, times, idle, makespan, mean = (statistics.mean(column) for column in zip(*values, strict=True))
        print(f"| {label} | {name} | {first:.0f} | {times:.2f} | {idle:.0f} | +{makespan:.1f} % | +{mean:.1f} % |")
        label = ""
    sys.stdout.flush()


def _print_tiny(count: int) -> None:
    """Tiny queues against every order of files and of tasks."""
    print(f"\n{count} tiny queues of each setting against every order of files and of tasks, in percent above it:\n")
    print("| setting | policy | first item, mean (worst) | time, mean (worst) | mean completion, mean (worst) |")
    print("|" + " --- |" * 5)
    for name, megabits in (("GPU-bound", 1576), ("even", 200), ("download-bound", 50)):
        gaps: dict[str, list[tuple[float, ...]]] = {}
        for seed in range(count):
            queue = tiny(seed, megabits)
            every = list(_every(queue))
            best = [
                min(column)
                for column in zip(*((o.first_item, o.makespan, o.mean_completion) for o in every), strict=True)
            ]
            for policy, outcome in outcomes(queue).items():
                values = (outcome.first_item, outcome.makespan, outcome.mean_completion)
                gaps.setdefault(policy, []).append(
                    tuple(100 * (value / least - 1) for value, least in zip(values, best, strict=True))
                )
        for policy, rows_of in gaps.items():
            cells = [f"{statistics.mean(column):.1f} ({max(column):.0f})" for column in zip(*rows_of, strict=True)]
            print(f"| {name} | {policy} | {' | '.join(cells)} |")


def tiny(seed: int, megabits: float) -> Queue:
    """Two or three checkpoints of mixed families, four or five files in all, four tasks."""
    chance = random.Random(seed)  # noqa: S311 (no secret: the same batch again)
    families: Sequence[Family] = chance.sample((*MIXED, SDXL), k=chance.choice((2, 3)))
    sizes = [family.gigabytes for family in families]
    loras = [chance.lognormvariate(0, 0.8) * 0.3 for _ in range(5 - len(families))]
    tasks = []
    for number in range(4):
        base = number % len(families)
        patches = chance.sample(range(len(loras)), k=chance.randint(0, min(2, len(loras))))
        tasks.append(
            Task(
                (base,),
                tuple(sorted(len(families) + patch for patch in patches)),
                chance.randint(1, 30),
                families[base].work / 1.6,
            )
        )
    used = sorted({file for task in tasks for file in task.assets})
    places = {file: place for place, file in enumerate(used)}
    renamed = tuple(
        task._replace(
            bases=tuple(places[file] for file in task.bases), patches=tuple(places[file] for file in task.patches)
        )
        for task in tasks
    )
    every = [*sizes, *loras]
    return Queue(renamed, tuple(every[file] * 8000 / megabits for file in used), LOAD_SECONDS, PATCH_SECONDS)


def _every(queue: Queue) -> Iterator[Outcome]:
    for downloads in itertools.permutations(range(len(queue.asset_seconds))):
        ready = queue.ready_moments(downloads)
        for tasks in itertools.permutations(range(len(queue.tasks))):
            yield simulate(queue, Order(downloads, tasks), ready=ready)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch orders", description=__doc__)
    parser.add_argument("--tiny", type=int, default=30, help="queues that every order is tried on")
    return parser


if __name__ == "__main__":
    sys.exit(main())
