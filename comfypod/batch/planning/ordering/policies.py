"""Ways to order one pod's work: those that others use, and those that ours are chosen from. Pure.

A policy names tasks in the order in which their files are to come; a rule, in which order the GPU takes those that are
ready. The first three policies are other people's: everything first, and the article's, as its text and as its code
have them (docs/explanation/batch-planning.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from comfypod.batch.planning.ordering.queue import Order, Queue

Policy = Callable[[Queue], Sequence[int]]
Rule = Callable[[Queue, Sequence[float]], Sequence[int]]


def by_patches(queue: Queue) -> Sequence[int]:
    """The smallest sum of LoRAs first, whatever they are laid over: the article as it is coded."""
    return sorted(range(len(queue.tasks)), key=lambda number: (_patch_seconds(queue, number), number))


def by_closure(queue: Queue) -> Sequence[int]:
    """The smallest sum of all files first: the article as it is described."""
    return sorted(range(len(queue.tasks)), key=lambda number: (queue.closure_seconds(queue.tasks[number]), number))


def johnson(queue: Queue) -> Sequence[int]:
    """Johnson's rule on what shares its bases: shortest for a two-machine flow shop, if nothing else were shared."""

    def key(tasks: Sequence[int]) -> tuple[int, float]:
        download, work = _download(queue, tasks), _work(queue, tasks)
        return (0, download) if download <= work else (1, -work)

    return _by_bases(queue, key)


def shortest_items(queue: Queue) -> Sequence[int]:
    """What is made quickest first (WSPT), item by item."""
    return _by_bases(queue, lambda tasks: _work(queue, tasks) / _items(queue, tasks))


def work_per_byte(queue: Queue) -> Sequence[int]:
    """What keeps the GPU busy longest for what has to come first."""
    return _by_bases(queue, lambda tasks: _download(queue, tasks) / _work(queue, tasks))


def smallest_bases(queue: Queue) -> Sequence[int]:
    """What is there first first."""
    return _by_bases(queue, lambda tasks: min(queue.closure_seconds(queue.tasks[number]) for number in tasks))


def soonest_items(queue: Queue) -> Sequence[int]:
    """Next whichever brings the most items for the seconds that its missing files and its work take."""
    left = set(range(len(queue.tasks)))
    present: set[int] = set()
    found = []
    while left:
        best = min(left, key=lambda number: (_seconds_per_item(queue, number, present), number))
        left.remove(best)
        present.update(queue.tasks[best].assets)
        found.append(best)
    return found


def as_ready(queue: Queue, ready: Sequence[float]) -> Sequence[int]:
    """First come, first served."""

    def key(number: int) -> tuple[float, tuple[int, ...], float, int]:
        task = queue.tasks[number]
        return ready[number], task.bases, task.item_seconds, number

    return sorted(range(len(queue.tasks)), key=key)


def bases_together(queue: Queue, ready: Sequence[float]) -> Sequence[int]:
    """What shares its bases one after the other, equal patches back to back; the bases in the order they come."""
    first = _first_ready(queue, ready)

    def key(number: int) -> tuple[float, tuple[int, ...], float, float]:
        task = queue.tasks[number]
        return first[task.bases], task.bases, ready[number], task.item_seconds

    return sorted(range(len(queue.tasks)), key=key)


def shortest_bases(queue: Queue, ready: Sequence[float]) -> Sequence[int]:
    """What shares its bases one after the other; what is made quickest goes before what came earlier."""
    seconds = {bases: _work(queue, tasks) / _items(queue, tasks) for bases, tasks in _tasks_by_bases(queue).items()}

    def key(number: int) -> tuple[float, tuple[int, ...], float, float]:
        task = queue.tasks[number]
        return seconds[task.bases], task.bases, task.item_seconds, ready[number]

    return sorted(range(len(queue.tasks)), key=key)


OURS: Final[Mapping[str, Policy]] = {
    "article as described": by_closure,
    "Johnson": johnson,
    "shortest items": shortest_items,
    "work per byte": work_per_byte,
    "smallest first": smallest_bases,
}
RULES: Final[Sequence[Rule]] = (as_ready, bases_together, shortest_bases)


def order_by(queue: Queue, policy: Policy, rule: Rule = bases_together) -> Order:
    """The order of a policy."""
    downloads = queue.downloads_for(policy(queue))
    return Order(downloads, tuple(rule(queue, queue.ready_moments(downloads))))


def all_first(queue: Queue) -> tuple[Order, Sequence[float]]:
    """Everything comes before anything is made: the order, and when tasks are ready then."""
    order = order_by(queue, johnson)
    return order, [queue.download_seconds] * len(queue.tasks)


def _by_bases(queue: Queue, key: Callable[[Sequence[int]], float | tuple[int, float]]) -> Sequence[int]:
    """Tasks that share their bases together, by their key; among them those with little to fetch for their work."""
    groups = sorted(_tasks_by_bases(queue).items(), key=lambda item: (key(item[1]), item[0]))

    def within(number: int) -> tuple[float, float]:
        return _lightness(queue, number), queue.tasks[number].item_seconds

    return [number for _, tasks in groups for number in sorted(tasks, key=within)]


def _tasks_by_bases(queue: Queue) -> Mapping[tuple[int, ...], Sequence[int]]:
    found: dict[tuple[int, ...], list[int]] = {}
    for number, task in enumerate(queue.tasks):
        found.setdefault(task.bases, []).append(number)
    return found


def _first_ready(queue: Queue, ready: Sequence[float]) -> Mapping[tuple[int, ...], float]:
    return {bases: min(ready[number] for number in tasks) for bases, tasks in _tasks_by_bases(queue).items()}


def _download(queue: Queue, tasks: Sequence[int]) -> float:
    assets = {asset for number in tasks for asset in queue.tasks[number].assets}
    return sum(queue.asset_seconds[asset] for asset in assets)


def _work(queue: Queue, tasks: Sequence[int]) -> float:
    """With one load, and a change of patches for each task."""
    work = sum(queue.tasks[number].seconds for number in tasks)
    return work + queue.load_seconds + queue.patch_seconds * len(tasks)


def _items(queue: Queue, tasks: Sequence[int]) -> int:
    return sum(queue.tasks[number].items for number in tasks)


def _lightness(queue: Queue, number: int) -> float:
    """Seconds of patches to fetch for a second of work."""
    task = queue.tasks[number]
    return _patch_seconds(queue, number) / task.seconds


def _patch_seconds(queue: Queue, number: int) -> float:
    """To fetch what is laid over the bases."""
    return sum(queue.asset_seconds[asset] for asset in queue.tasks[number].patches)


def _seconds_per_item(queue: Queue, number: int, present: AbstractSet[int]) -> float:
    task = queue.tasks[number]
    missing = sum(queue.asset_seconds[asset] for asset in task.assets if asset not in present)
    return (missing + task.seconds) / task.items
