"""Very many tasks of one pod, made in the order in which their files come: columns of numbers instead of events. Pure.

With hundreds of tasks a pod is busy for so much longer than it downloads that their order hardly matters; which bases
come first, and that the first item is there early, still does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from comfypod.batch.documents import Objective
from comfypod.batch.planning.ordering.queue import Outcome
from comfypod.batch.planning.table import Floats, Integers, summed


@dataclass(frozen=True, eq=False)
class Line:
    """Tasks by columns, in the order in which they are made, each after those before it, and in which files come.

    ``numbers``: whatever tells them apart. ``blocks``: which tasks share their bases. ``files`` with ``owners``: what
    each needs, as places in ``file_seconds``; owners are places of tasks and rise.
    """

    numbers: Integers
    blocks: Integers
    items: Integers
    item_seconds: Floats
    has_patches: Floats
    owners: Integers
    files: Integers
    file_seconds: Floats
    load_seconds: float
    patch_seconds: float

    @cached_property
    def outcome(self) -> Outcome:
        """What becomes of it, as `comfypod.batch.planning.ordering.queue.simulate` says it, or a little more.

        A task that is ready before one that it stands behind is not taken before it here.
        """
        changes = self.has_patches * self.patch_seconds
        changes[self._begins_block] += self.load_seconds
        seconds = self.items * self.item_seconds
        done_before = np.cumsum(changes + seconds) - changes - seconds
        waited = np.maximum.accumulate(self._ready - done_before)
        begins = done_before + waited + changes
        ends = begins + seconds
        means = begins + self.item_seconds * (self.items + 1) / 2
        first = float(begins[0])
        return Outcome(
            first,
            first + float(self.item_seconds[0]),
            float(waited[-1]),
            float(ends[-1]),
            float((means * self.items).sum() / self.items.sum()),
        )

    @cached_property
    def downloads(self) -> Integers:
        """Files, each once, in the order in which they are needed."""
        return self.files[np.sort(np.unique(self.files, return_index=True)[1])]

    def sorted_for(self, objective: Objective) -> Line:
        """For ``cost`` as it is; else the bases with the quickest items first, and before all the quickest task."""
        if objective == "cost":
            return self
        count = int(self.blocks.max()) + 1
        per_item = summed(self.blocks, self.items * self.item_seconds, count) / summed(
            self.blocks, self.items.astype(np.float64), count
        )
        quickest = self._quickest
        order = np.lexsort((np.arange(len(self.numbers)), self.blocks, per_item[self.blocks]))
        is_first = self.numbers[order] == self.numbers[quickest]
        is_next = self.blocks[order] == self.blocks[quickest]
        return self._moved(order[np.lexsort((np.arange(len(order)), ~is_next, ~is_first))])

    @property
    def _begins_block(self) -> Integers:
        return np.flatnonzero(np.diff(self.blocks, prepend=-1))

    @property
    def _ready(self) -> Floats:
        """When all files of each task are there."""
        _, first = np.unique(self.files, return_index=True)
        ready: Floats = np.cumsum(summed(self.owners[first], self.file_seconds[self.files[first]], len(self.numbers)))
        return ready

    @property
    def _quickest(self) -> int:
        """The place of the task with the smallest closure; of several, whose item is made quickest."""
        closures = summed(self.owners, self.file_seconds[self.files], len(self.numbers))
        return int(np.lexsort((self.has_patches * self.patch_seconds + self.item_seconds, closures))[0])

    def _moved(self, order: Integers) -> Line:
        """The tasks in another order."""
        places = np.empty(len(order), dtype=np.int64)
        places[order] = np.arange(len(order))
        owners = places[self.owners]
        by_owner = np.argsort(owners, kind="stable")
        return replace(
            self,
            numbers=self.numbers[order],
            blocks=self.blocks[order],
            items=self.items[order],
            item_seconds=self.item_seconds[order],
            has_patches=self.has_patches[order],
            owners=owners[by_owner],
            files=self.files[by_owner],
        )
