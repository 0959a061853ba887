"""The best order that can be found for one pod's work: a portfolio of policies, and moves from the best of it. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from comfypod.batch.documents import Objective
from comfypod.batch.planning.ordering import policies
from comfypod.batch.planning.ordering.queue import Order, Outcome, Queue, simulate, simulate_in_turn

FIRST_ITEM_SLACK: Final = 1.05
"""For ``early`` and ``balanced``: the first item is there within so many times what the smallest closure takes."""

MOVES: Final = 40
"""So many times something is moved to another place, to see whether that is better."""
MOST_TASKS: Final = 600
"""Of more the order is taken as it is given: what waits for so few of its files hardly matters."""
_MOST_TASKS_TO_REORDER: Final = 150


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


def best_order(queue: Queue, objective: Objective, *, moves: int = MOVES) -> Found:
    """The best order for this objective, of those that are tried; the same one for the same queue."""
    if not queue.tasks:
        return Found(Order((), ()), Outcome(0.0, 0.0, 0.0, 0.0, 0.0))
    if len(queue.tasks) > MOST_TASKS:
        return _in_turn(queue, objective)
    found = list(_portfolio(queue))
    scale = _Scale(
        max(1e-9, min(item.outcome.makespan for item in found)),
        max(1e-9, min(item.outcome.mean_completion for item in found)),
    )
    allowed = [item for item in found if _is_allowed(queue, item, objective)]
    best = min(allowed, key=lambda item: scale.cost(item.outcome, objective))
    return _improve(queue, best, objective, scale, moves)


def _in_turn(queue: Queue, objective: Objective) -> Found:
    """Tasks as they are numbered; but for ``cost``, the quickest one before them."""
    tasks: Sequence[int] = range(len(queue.tasks))
    tasks = tasks if objective == "cost" else _quickest_first(queue, tasks)
    return Found(Order(queue.downloads_for(tasks), tuple(tasks)), simulate_in_turn(queue, tasks))


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
