"""One pod's work, and what becomes of it in a given order: one serial link, one GPU. Pure.

An item runs when all of its files are there. Files come one after the other. The GPU takes, whenever it ends an item,
one of the first task in the order whose files are there: it never waits while any item could run.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple


class Task(NamedTuple):
    """Items that need the same files: a share of a pod. Files are numbers of `Queue.asset_seconds`."""

    bases: tuple[int, ...]
    patches: tuple[int, ...]
    items: int
    item_seconds: float

    @property
    def assets(self) -> tuple[int, ...]:
        """All files."""
        return self.bases + self.patches

    @property
    def seconds(self) -> float:
        """Of the GPU."""
        return self.items * self.item_seconds


class Order(NamedTuple):
    """In which order files come, and which task goes before which; numbers of `Queue`'s."""

    downloads: tuple[int, ...]
    tasks: tuple[int, ...]


class Outcome(NamedTuple):
    """In seconds since the first file began to come."""

    first_work: float
    """The GPU begins the first item."""
    first_item: float
    """It is made."""
    idle: float
    """The GPU waited for files, from the beginning until the last item ended."""
    makespan: float
    mean_completion: float
    """Of items."""


@dataclass(frozen=True)
class Queue:
    """What a pod is to make."""

    tasks: tuple[Task, ...]
    asset_seconds: tuple[float, ...]
    """How long each file takes to come."""
    load_seconds: float = 0.0
    patch_seconds: float = 0.0

    def change_seconds(self, before: Task | None, task: Task) -> float:
        """To bring onto the GPU what a task needs, after another one."""
        if before is None or before.bases != task.bases:
            return self.load_seconds + (self.patch_seconds if task.patches else 0.0)
        return self.patch_seconds if before.patches != task.patches else 0.0

    def closure_seconds(self, task: Task) -> float:
        """Until all files of a task are there, if they come first."""
        return sum(self.asset_seconds[asset] for asset in task.assets)

    def alone_seconds(self, number: int) -> float:
        """Until the first item of a task is made, if nothing goes before it."""
        task = self.tasks[number]
        return self.closure_seconds(task) + self.change_seconds(None, task) + task.item_seconds

    @cached_property
    def quickest(self) -> int:
        """The task that can begin first: the one with the smallest closure; of several, whose item is made quickest."""

        def key(number: int) -> tuple[float, float]:
            return self.closure_seconds(self.tasks[number]), self.alone_seconds(number)

        return min(range(len(self.tasks)), key=key)

    @cached_property
    def smallest_first_item(self) -> float:
        """When its first item is there, if nothing goes before it."""
        return self.alone_seconds(self.quickest)

    @cached_property
    def download_seconds(self) -> float:
        """Of all files."""
        return sum(self.asset_seconds)

    def ready_moments(self, downloads: Sequence[int]) -> list[float]:
        """When all files of each task are there."""
        arrived = [math.inf] * len(self.asset_seconds)
        now = 0.0
        for asset in downloads:
            now += self.asset_seconds[asset]
            arrived[asset] = now
        return [max((arrived[asset] for asset in task.assets), default=0.0) for task in self.tasks]

    def downloads_for(self, tasks: Iterable[int]) -> tuple[int, ...]:
        """Files in the order in which these tasks need them."""
        wanted = (asset for number in tasks for asset in self.tasks[number].assets)
        return tuple(dict.fromkeys(wanted))


def simulate(queue: Queue, order: Order, *, ready: Sequence[float] | None = None) -> Outcome:
    """What becomes of a queue in this order; ``ready``: when tasks are, if that is known already."""
    moments = queue.ready_moments(order.downloads) if ready is None else ready
    return _Run(queue, order.tasks, moments).outcome()


class _Run:
    """One simulation."""

    def __init__(self, queue: Queue, tasks: Sequence[int], ready: Sequence[float]) -> None:
        self._queue, self._tasks, self._ready = queue, tasks, ready
        self._left = [task.items for task in queue.tasks]
        self._ranks = {number: rank for rank, number in enumerate(tasks)}
        self._coming = sorted(tasks, key=ready.__getitem__)
        self._next = 0
        self._waiting: list[int] = []
        self._now = self._idle = self._completions = 0.0
        self._first: tuple[float, float] | None = None
        self._on_gpu: Task | None = None

    def outcome(self) -> Outcome:
        while True:
            self._admit()
            if self._waiting:
                self._work(self._waiting[0])
            elif self._next < len(self._coming):
                begin = self._ready[self._coming[self._next]]
                self._idle += begin - self._now
                self._now = begin
            else:
                break
        items = sum(task.items for task in self._queue.tasks)
        begin, end = self._first or (0.0, 0.0)
        return Outcome(begin, end, self._idle, self._now, self._completions / max(1, items))

    def _admit(self) -> None:
        """Tasks whose files are there wait for the GPU."""
        while self._next < len(self._coming) and self._ready[self._coming[self._next]] <= self._now:
            heapq.heappush(self._waiting, self._ranks[self._coming[self._next]])
            self._next += 1

    def _work(self, rank: int) -> None:
        """Items of the first task that waits: all of them, or until one that goes before it is ready."""
        number = self._tasks[rank]
        task = self._queue.tasks[number]
        self._now += self._queue.change_seconds(self._on_gpu, task)
        self._on_gpu = task
        items = min(self._left[number], self._items_until_another(rank, task.item_seconds))
        begin = self._now
        self._now += items * task.item_seconds
        self._completions += items * begin + task.item_seconds * items * (items + 1) / 2
        if self._first is None:
            self._first = begin, begin + task.item_seconds
        self._left[number] -= items
        if not self._left[number]:
            heapq.heappop(self._waiting)

    def _items_until_another(self, rank: int, item_seconds: float) -> int:
        """How many items can be made until a task that goes before this one is ready; at least one."""
        end = self._now + self._left[self._tasks[rank]] * item_seconds
        for position in range(self._next, len(self._coming)):
            moment = self._ready[self._coming[position]]
            if moment >= end:
                break
            if self._ranks[self._coming[position]] < rank:
                return max(1, math.ceil((moment - self._now) / item_seconds - 1e-9))
        return self._left[self._tasks[rank]]
