"""Lots: what stays together when a plan is made, the groups with the same bases, or a part of them. Pure.

A lot is fetched bases first, then patches, what brings much work for its bytes first; so what it takes on a pod, alone
or after others, is known by three figures for each offer: its downloads, its work, and how long it takes from the
beginning of its downloads to the end of its work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from comfypod.batch.planning.market import Market
from comfypod.batch.planning.table import Floats, Integers, summed


@dataclass(frozen=True, eq=False)
class Lot:
    """Groups that have the same bases, in the order in which their patches come.

    ``members`` are numbers of groups, ``items`` and ``works`` what of each of them belongs to this lot.
    """

    market: Market
    members: Integers
    items: Integers
    works: Floats

    @cached_property
    def bases(self) -> frozenset[int]:
        """Files."""
        table = self.market.table
        return table.bases[int(table.base_sets[self.members[0]])]

    @cached_property
    def assets(self) -> frozenset[int]:
        """All files."""
        return self.bases.union(self._first_uses[0].tolist())

    @cached_property
    def bases_bytes(self) -> int:
        """Of the files that come first."""
        return self.market.table.size_bytes(self.bases)

    @cached_property
    def size_bytes(self) -> int:
        """Of all files."""
        return self.bases_bytes + int(self.market.table.sizes[self._first_uses[0]].sum())

    @cached_property
    def memory_bytes(self) -> int:
        """Of the GPU."""
        return self.market.memory_bytes(self.bases)

    @cached_property
    def work(self) -> float:
        """In megapixel-steps."""
        return float(self.works.sum())

    @cached_property
    def speeds(self) -> tuple[float, ...]:
        """Megapixel-steps per second, by offer."""
        return self.market.speeds(self.bases)

    @cached_property
    def has_patches(self) -> Floats:
        """Of each group, 1 or 0."""
        table = self.market.table
        return (table.starts[self.members + 1] > table.starts[self.members]).astype(np.float64)

    @cached_property
    def changes(self) -> int:
        """Of patches."""
        return int(self.has_patches.sum())

    @cached_property
    def closure_bytes(self) -> Floats:
        """Of each group: all of its files."""
        return self.market.table.patch_bytes[self.members] + self.bases_bytes

    @cached_property
    def arrived_bytes(self) -> Floats:
        """Of each group: what has come when it can begin, files coming in the order of groups."""
        files, owners = self._first_uses
        new = summed(owners, self.market.table.sizes[files], len(self.members))
        come: Floats = np.cumsum(new) + self.bases_bytes
        return come

    @cached_property
    def download_seconds(self) -> tuple[float, ...]:
        """By offer."""
        return tuple(self.size_bytes / offer.download_bytes_per_second for offer in self.market.offers)

    @cached_property
    def gpu_seconds(self) -> tuple[float, ...]:
        """By offer: one load, changes of patches, and the work."""
        return tuple(
            offer.load_seconds + self.changes * offer.patch_seconds + self.work / speed
            for offer, speed in zip(self.market.offers, self.speeds, strict=True)
        )

    @cached_property
    def alone_seconds(self) -> tuple[float, ...]:
        """By offer: from the beginning of its downloads to the end of its work."""
        found = []
        for offer, speed in zip(self.market.offers, self.speeds, strict=True):
            seconds = self.works / speed + self.has_patches * offer.patch_seconds
            remaining = np.cumsum(seconds[::-1])[::-1]
            ready = self.arrived_bytes / offer.download_bytes_per_second
            found.append(float(np.max(ready + remaining)) + offer.load_seconds)
        return tuple(found)

    @cached_property
    def first_seconds(self) -> tuple[float, ...]:
        """By offer: until its first group's files are there and loaded."""
        first = float(self.arrived_bytes[0])
        return tuple(first / offer.download_bytes_per_second + offer.load_seconds for offer in self.market.offers)

    @cached_property
    def turns(self) -> tuple[tuple[int, float], ...]:
        """By offer: which of several lots is first on a pod, the one with the least; see `Draft.sequence`."""
        found = []
        seconds = zip(self.alone_seconds, self.gpu_seconds, self.download_seconds, strict=True)
        for alone, working, downloading in seconds:
            until_work, after_downloads = alone - working, alone - downloading
            found.append((0, until_work) if until_work <= after_downloads else (1, -after_downloads))
        return tuple(found)

    @cached_property
    def _first_uses(self) -> tuple[Integers, Integers]:
        """Files of patches, each once, and the place of the group that needs it first."""
        owners, files = self.market.table.patches_of(self.members)
        if not len(files):
            return files, owners
        lowest = int(files.min())
        first = np.full(int(files.max()) - lowest + 1, -1, dtype=np.int64)
        first[files[::-1] - lowest] = owners[::-1]  # of several writes to one place the last one stays
        once = np.flatnonzero(first >= 0)
        return once + lowest, first[once]


def make_lots(market: Market) -> list[Lot]:
    """One lot for all groups with the same bases; more, where their files are more than a pod may hold."""
    table = market.table
    order = np.argsort(table.base_sets, kind="stable")
    bounds = np.flatnonzero(np.diff(table.base_sets[order])) + 1
    return [lot for members in np.split(order, bounds) for lot in _within_cap(_in_order(market, members))]


def join(lots: Sequence[Lot]) -> Lot:
    """Parts with the same bases as one."""
    members = np.concatenate([lot.members for lot in lots])
    once, places = np.unique(members, return_inverse=True)
    items = summed(places, np.concatenate([lot.items for lot in lots]), len(once)).astype(np.int64)
    works = summed(places, np.concatenate([lot.works for lot in lots]), len(once))
    return _in_order(lots[0].market, once, items, works)


@dataclass(frozen=True, eq=False)
class Pile:
    """What is left of a lot while parts are taken from it; groups with similar patches lie together."""

    market: Market
    members: Integers
    items: Integers
    works: Floats

    @classmethod
    def of(cls, lot: Lot) -> Pile:
        """All of a lot."""
        order = np.argsort(lot.market.table.places[lot.members], kind="stable")
        return cls(lot.market, lot.members[order], lot.items[order], lot.works[order])

    def lot(self) -> Lot:
        """All of it as a lot."""
        return _in_order(self.market, self.members, self.items, self.works)

    def take(self, work: float) -> tuple[Lot | None, Pile | None]:
        """So much work at most, as whole items, and the rest; None: nothing.

        Groups stay whole but for one, and those with similar patches stay together: a part has few of the files.
        """
        done = np.cumsum(self.works)
        whole = int(np.searchsorted(done, work * (1 + 1e-12), side="right"))
        if whole == len(self.members):
            return self.lot(), None
        each = self.works[whole] / self.items[whole]
        cut = int((work - (done[whole - 1] if whole else 0.0)) / each + 1e-9)
        cut = max(0, min(cut, int(self.items[whole]) - 1))
        end = whole + (1 if cut else 0)
        if not end:
            return None, self
        taken, left = self.items[:end].copy(), self.items[whole:].copy()
        if cut:
            taken[-1] = cut
            left[0] -= cut
        part = _in_order(self.market, self.members[:end], taken, self.works[:end] * (taken / self.items[:end]))
        works = self.works[whole:] * (left / self.items[whole:])
        return part, Pile(self.market, self.members[whole:], left, works)


def _in_order(market: Market, members: Integers, items: Integers | None = None, works: Floats | None = None) -> Lot:
    """A lot of these groups, or of parts of them: what has few bytes of patches for its work comes first."""
    table = market.table
    items = table.items[members] if items is None else items
    works = table.works[members] if works is None else works
    order = np.argsort(table.patch_bytes[members] / works, kind="stable")
    return Lot(market, members[order], items[order], works[order])


def _within_cap(lot: Lot) -> list[Lot]:
    """A lot in as many as the cap needs: each group goes where it adds the fewest bytes."""
    market, cap = lot.market, lot.market.demands.payload_cap_bytes
    if lot.size_bytes <= cap:
        return [lot]
    sizes = market.table.sizes
    owners, files = market.table.patches_of(lot.members)
    patches = np.split(files, np.flatnonzero(np.diff(owners)) + 1)
    with_patches = dict(zip(np.unique(owners).tolist(), patches, strict=True))
    parts: list[_Part] = []
    for place in np.argsort(market.table.places[lot.members], kind="stable").tolist():
        own = frozenset(with_patches[place].tolist()) if place in with_patches else frozenset()
        fits = [(part.added(own, sizes), number) for number, part in enumerate(parts)]
        best = min(((new, number) for new, number in fits if parts[number].size + new <= cap), default=None)
        if best is None:
            parts.append(_Part([], set(), lot.bases_bytes))
        parts[-1 if best is None else best[1]].add(place, own, sizes)
    return [_in_order(market, lot.members[np.sort(part.places)]) for part in parts]


@dataclass
class _Part:
    """Groups on their way into a lot of their own, by their places in the lot that is too large."""

    places: list[int]
    present: set[int]
    size: float

    def added(self, files: frozenset[int], sizes: Floats) -> float:
        """Bytes that come with these files."""
        return float(sum(sizes[file] for file in files if file not in self.present))

    def add(self, place: int, files: frozenset[int], sizes: Floats) -> None:
        """One more group."""
        self.size += self.added(files, sizes)
        self.present |= files
        self.places.append(place)
