"""The best order that can be found for one pod's work: a portfolio of policies, and moves from the best of it. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from comfypod.batch.documents import Objective
from comfypod.batch.planning.ordering import policies
from comfypod.batch.planning.ordering.queue import Order, Outcome, Queue, simulate

FIRST_ITEM_SLACK: Final = 1.05
"""For ``early`` and ``balanced``: the first item is there within so many times what the smallest closure takes."""

SEARCH_STEPS: Final = 30_000
"""As many tasks are simulated for one pod, over all orders that are tried, unless somebody says otherwise."""

_MOST_MOVES: Final = 40
"""So many times something is moved to another place, to see whether that is better."""
_MOST_TASKS_TO_REORDER: Final = 150
_GOOD_MAKESPAN: Final = 1.002
_GOOD_MEAN: Final = 1.01
"""Within so many times what no order can be better than, it is not looked any further."""


class Found(NamedTuple):
    """An order, and what becomes of the queue in it."""

    order: Order
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _Scale:
    """What an outcome is measured by."""

    makespan: float
    mean_completion: float

    def cost(self, outcome: Outcome, objective: Objective) -> tuple[float, float]:
        """The smaller, the better."""
        makespan = outcome.makespan / self.makespan
        mean = outcome.mean_completion / self.mean_completion
        if objective == "cost":
            return makespan, mean
        return (mean, makespan) if objective == "early" else (makespan + mean, mean)


def best_order(queue: Queue, objective: Objective, *, steps: int = SEARCH_STEPS) -> Found:
    """The best order for this objective, of those that are tried; the same one for the same queue.

    First those that take the tasks as they are numbered, or the quickest items first: they are good where the GPU is
    what is waited for. Where they are not, every policy, and moves from the best of it, as far as ``steps`` go.
    """
    if not queue.tasks:
        return Found(Order((), ()), Outcome(0.0, 0.0, 0.0, 0.0, 0.0))
    bound = _bound(queue)
    best = _best(queue, objective, bound, [*_in_turn(queue)])
    if _is_good(best.outcome, objective, bound):
        return best
    orders = 2 * len(policies.RULES) * (len(policies.OURS) + 1)
    if len(queue.tasks) * orders > steps:
        return best
    found = [best, *_portfolio(queue)]
    scale = _Scale(min(item.outcome.makespan for item in found), min(item.outcome.mean_completion for item in found))
    best = _best(queue, objective, scale, found)
    moves = min(_MOST_MOVES, (steps - len(queue.tasks) * orders) // (len(queue.tasks) * len(policies.RULES)))
    return _improve(queue, best, objective, scale, moves)


def _bound(queue: Queue) -> _Scale:
    """What no order is better than: all work after the smallest closure, in the order that is best for the mean."""
    begin = queue.smallest_first_item - queue.tasks[queue.quickest].item_seconds
    tasks = queue.tasks
    changes = queue.load_seconds * (len({task.bases for task in tasks}) - 1)
    changes += queue.patch_seconds * (sum(1 for task in tasks if task.patches) - 1)
    now, completions, items = begin, 0.0, 0
    for seconds, count in sorted((task.item_seconds, task.items) for task in tasks):
        completions += count * now + seconds * count * (count + 1) / 2
        now += seconds * count
        items += count
    return _Scale(max(1e-9, now + max(0.0, changes)), max(1e-9, completions / items))


def _is_good(outcome: Outcome, objective: Objective, bound: _Scale) -> bool:
    is_short = outcome.makespan <= _GOOD_MAKESPAN * bound.makespan
    is_early = outcome.mean_completion <= _GOOD_MEAN * bound.mean_completion
    return (is_short or objective == "early") and (is_early or objective == "cost")


def _best(queue: Queue, objective: Objective, scale: _Scale, found: Sequence[Found]) -> Found:
    allowed = [item for item in found if _is_allowed(queue, item, objective)]
    return min(allowed, key=lambda item: scale.cost(item.outcome, objective))


def _in_turn(queue: Queue) -> Iterator[Found]:
    """Tasks as they are numbered, or those of the bases with the quickest items first; so, and the quickest before."""
    for tasks in (range(len(queue.tasks)), policies.shortest_items(queue)):
        for chosen in (tasks, _quickest_first(queue, tasks)):
            yield Found(order := Order(queue.downloads_for(chosen), tuple(chosen)), simulate(queue, order))


def _portfolio(queue: Queue) -> Iterator[Found]:
    """Every policy as it is, and with the quickest task before all others; under every rule."""
    chosen = list(policies.OURS.values())
    if len(queue.tasks) <= _MOST_TASKS_TO_REORDER:
        chosen.append(policies.soonest_items)
    for policy in chosen:
        tasks = policy(queue)
        yield from _under_rules(queue, tasks)
        yield from _under_rules(queue, _quickest_first(queue, tasks))


def _under_rules(queue: Queue, tasks: Sequence[int]) -> Iterator[Found]:
    downloads = queue.downloads_for(tasks)
    ready = queue.ready_moments(downloads)
    for rule in policies.RULES:
        order = Order(downloads, tuple(rule(queue, ready)))
        yield Found(order, simulate(queue, order, ready=ready))


def _quickest_first(queue: Queue, tasks: Sequence[int]) -> Sequence[int]:
    """The quickest task before all others, and what shares its bases after it, so that they are loaded once."""
    first = queue.tasks[queue.quickest].bases
    return sorted(tasks, key=lambda number: (number != queue.quickest, queue.tasks[number].bases != first))


def _is_allowed(queue: Queue, found: Found, objective: Objective) -> bool:
    return objective == "cost" or found.outcome.first_item <= FIRST_ITEM_SLACK * queue.smallest_first_item + 1e-9


def _improve(queue: Queue, best: Found, objective: Objective, scale: _Scale, moves: int) -> Found:
    """Move what shares its bases, or a single task, to another place, as long as that helps."""
    chance = random.Random(len(queue.tasks))  # noqa: S311 (nothing is secret here, and the same queue has one order)
    for _ in range(moves):
        for found in _under_rules(queue, _moved(queue, _coming(queue, best.order), chance)):
            better = scale.cost(found.outcome, objective) < scale.cost(best.outcome, objective)
            if better and _is_allowed(queue, found, objective):
                best = found
    return best


def _coming(queue: Queue, order: Order) -> list[int]:
    """Tasks in the order in which they become ready."""
    ready = queue.ready_moments(order.downloads)
    return sorted(order.tasks, key=ready.__getitem__)


def _moved(queue: Queue, tasks: list[int], chance: random.Random) -> Sequence[int]:
    number = chance.choice(tasks)
    bases = queue.tasks[number].bases
    block = [task for task in tasks if queue.tasks[task].bases == bases] if chance.random() < 0.5 else [number]
    rest = [task for task in tasks if task not in set(block)]
    place = chance.randint(0, len(rest))
    return [*rest[:place], *block, *rest[place:]]
