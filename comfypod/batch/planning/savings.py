"""Which lots share a pod: Clarke and Wright's savings, by what each pair of pods would save as one. Pure."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from comfypod.batch.planning.drafts import Draft, merged

_EVERY_PAIR_UP_TO: Final = 200
_NEIGHBOURS: Final = 8
_LEAST_SAVING: Final = 1e-12


def save(drafts: Sequence[Draft]) -> list[Draft]:
    """Merge the two pods that save most, as long as any two save something."""
    return _Merging(drafts).run()


class _Merging:
    """Pods by number; a heap of what pairs would save, of which those are passed over that are no more."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self._pods = dict(enumerate(drafts))
        self._numbers = itertools.count(len(drafts))
        self._heap: list[tuple[float, int, int, Draft]] = []

    def run(self) -> list[Draft]:
        for first, second in self._pairs():
            self._consider(first, second)
        while self._heap:
            _, first, second, pod = heapq.heappop(self._heap)
            if first in self._pods and second in self._pods:
                self._merge(first, second, pod)
        return list(self._pods.values())

    def _pairs(self) -> Iterator[tuple[int, int]]:
        """All of them; of very many, those near to each other in work, as small ones save most."""
        numbers = sorted(self._pods, key=lambda number: sum(lot.work for lot in self._pods[number].lots))
        reach = len(numbers) if len(numbers) <= _EVERY_PAIR_UP_TO else _NEIGHBOURS
        for place, number in enumerate(numbers):
            for other in numbers[place + 1 : place + 1 + reach]:
                yield number, other

    def _consider(self, first: int, second: int) -> None:
        one, other = self._pods[first], self._pods[second]
        if not _may_fit(one, other):
            return
        pod = merged(one, other)
        saving = one.price.dollars + other.price.dollars - pod.price.dollars
        if saving > _LEAST_SAVING:
            heapq.heappush(self._heap, (-saving, first, second, pod))

    def _merge(self, first: int, second: int, pod: Draft) -> None:
        del self._pods[first], self._pods[second]
        reach = len(self._pods) if len(self._pods) <= _EVERY_PAIR_UP_TO else _NEIGHBOURS
        others = list(itertools.islice(reversed(self._pods), reach))
        number = next(self._numbers)
        self._pods[number] = pod
        for other in others:
            self._consider(other, number)


def _may_fit(one: Draft, other: Draft) -> bool:
    """Whether two pods could be one: cheap to say, and wrong only in that direction."""
    deadline = one.market.demands.deadline_seconds
    return deadline is None or one.least_seconds + other.least_work_seconds <= deadline
