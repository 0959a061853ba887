"""A pod that is being planned: which lots it has, what it would take, and on which offer it is cheapest. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from comfypod.batch.planning.lots import Lot, join
from comfypod.batch.planning.market import Market


class Price(NamedTuple):
    """What a draft takes on one offer."""

    dollars: float
    seconds: float
    offer: int


IMPOSSIBLE = Price(math.inf, math.inf, -1)


@dataclass(frozen=True, eq=False)
class Draft:
    """Lots on one pod.

    ``choice``: offers to choose from, by number; all of them, if none are given. ``apart``: it is known that no file
    belongs to two of the lots.
    """

    market: Market
    lots: tuple[Lot, ...]
    choice: tuple[int, ...] = ()
    apart: bool = False

    @cached_property
    def assets(self) -> frozenset[int]:
        """All files."""
        if len(self.lots) == 1:
            return self.lots[0].assets
        return frozenset().union(*(lot.assets for lot in self.lots))

    @cached_property
    def size_bytes(self) -> int:
        """Of all files, those that lots share counted once."""
        if self.shares_files:
            return self.market.table.size_bytes(self.assets)
        return sum(lot.size_bytes for lot in self.lots)

    @cached_property
    def shares_files(self) -> bool:
        """Whether a file belongs to two of the lots."""
        return not self.apart and len(self.assets) < sum(len(lot.assets) for lot in self.lots)

    @cached_property
    def memory_bytes(self) -> int:
        """Of the GPU."""
        return max(lot.memory_bytes for lot in self.lots)

    @cached_property
    def price(self) -> Price:
        """On the cheapest offer that will do; `IMPOSSIBLE`, if none does."""
        return min(self.prices, default=IMPOSSIBLE)

    @cached_property
    def prices(self) -> Sequence[Price]:
        """On every offer that will do, the cheapest first."""
        if self.size_bytes > self.market.demands.payload_cap_bytes:
            return []
        deadline = self.market.demands.deadline_seconds
        found = []
        for offer in self.choice or range(len(self.market.offers)):
            if self.market.offers[offer].memory_bytes < self.memory_bytes:
                continue
            seconds = self.seconds(offer)
            if deadline is None or seconds <= deadline:
                found.append(Price(self.market.dollars(offer, seconds, self.size_bytes), seconds, offer))
        return sorted(found)

    @cached_property
    def likely_offers(self) -> frozenset[int]:
        """The three cheapest."""
        return frozenset([price.offer for price in self.prices[:3]])

    @cached_property
    def least_work_seconds(self) -> float:
        """On the fastest offer, without anything before it."""
        offers = range(len(self.market.offers))
        return min(sum(lot.work / lot.speeds[offer] for lot in self.lots) for offer in offers)

    @cached_property
    def least_seconds(self) -> float:
        """On the fastest offer, set-up included."""
        return self.least_work_seconds + min(offer.setup_seconds for offer in self.market.offers)

    def seconds(self, offer: int) -> float:
        """On one offer: from rented to ended, interruptions included."""
        first = min(lot.first_seconds[offer] for lot in self.lots)
        return self.market.expected_seconds(offer, first, max(0.0, self._makespan(offer) - first))

    def sequence(self, offer: int) -> Sequence[Lot]:
        """In which order lots take the least time: Johnson's rule with time lags (Mitten).

        A lot's work may begin before its downloads have ended, and then ends no earlier than they allow.
        """
        return sorted(self.lots, key=lambda lot: lot.turns[offer])

    def _makespan(self, offer: int) -> float:
        """From the first file to the last item."""
        speed = self.market.offers[offer].download_bytes_per_second
        seen: set[int] = set()
        come = done = 0.0
        for lot in self.sequence(offer):
            bases, all_files = self._present(lot, seen) if self.shares_files else (0, 0)
            done = max(done + lot.gpu_seconds[offer], come + lot.alone_seconds[offer] - bases / speed)
            come += lot.download_seconds[offer] - all_files / speed
        return done

    def _present(self, lot: Lot, seen: set[int]) -> tuple[int, int]:
        """Bytes of a lot that are there already: of its bases, and in all."""
        bases = self.market.table.size_bytes(lot.bases & seen)
        every = self.market.table.size_bytes(lot.assets & seen)
        seen |= lot.assets
        return bases, every


def merged(first: Draft, second: Draft) -> Draft:
    """Both on one pod; parts of the same lot are one again. Of offers, those that are cheapest for either of them."""
    choice = tuple(sorted(first.likely_offers | second.likely_offers))
    if first.assets.isdisjoint(second.assets):
        apart = not (first.shares_files or second.shares_files)
        return Draft(first.market, first.lots + second.lots, choice, apart)
    return Draft(first.market, together((*first.lots, *second.lots)), choice)


def together(lots: Iterable[Lot]) -> tuple[Lot, ...]:
    """Lots, of which those with the same bases are one."""
    by_bases: dict[frozenset[int], list[Lot]] = {}
    for lot in lots:
        by_bases.setdefault(lot.bases, []).append(lot)
    return tuple(parts[0] if len(parts) == 1 else join(parts) for parts in by_bases.values())
