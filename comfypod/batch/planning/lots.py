"""Lots: what stays together when a plan is made, the groups with the same bases, or a part of them. Pure.

A lot is fetched bases first, then patches, what brings much work for its bytes first; so what it takes on a pod, alone
or after others, is known by three figures for each offer: its downloads, its work, and how long it takes from the
beginning of its downloads to the end of its work.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from comfypod.batch.planning.market import Market
from comfypod.batch.planning.workload import Group

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lot:
    """Groups that have the same bases, in the order in which their patches come."""

    market: Market
    groups: tuple[Group, ...]

    @cached_property
    def bases(self) -> frozenset[str]:
        """Keys."""
        return frozenset(self.groups[0].signature.bases)

    @cached_property
    def assets(self) -> frozenset[str]:
        """Keys of all files."""
        return self.bases.union(*(group.signature.patches for group in self.groups))

    @cached_property
    def bases_bytes(self) -> int:
        """Of the files that come first."""
        return self.market.size_bytes(self.bases)

    @cached_property
    def size_bytes(self) -> int:
        """Of all files."""
        return self.market.size_bytes(self.assets)

    @cached_property
    def memory_bytes(self) -> int:
        """Of the GPU."""
        return self.market.memory_bytes(self.groups[0].signature)

    @cached_property
    def items(self) -> int:
        """How many."""
        return sum(group.items for group in self.groups)

    @cached_property
    def work(self) -> float:
        """In megapixel-steps."""
        return sum(group.work for group in self.groups)

    @cached_property
    def speeds(self) -> tuple[float, ...]:
        """Megapixel-steps per second, by offer."""
        return self.market.speeds(self.groups[0].signature)

    @cached_property
    def changes(self) -> int:
        """Of patches."""
        return int(self.has_patches.sum())

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
            ready = self.arrived_bytes / offer.download_bytes_per_second
            seconds = self.works / speed + self.has_patches * offer.patch_seconds
            remaining = np.cumsum(seconds[::-1])[::-1]
            found.append(float(np.max(ready + remaining)) + offer.load_seconds)
        return tuple(found)

    @cached_property
    def first_seconds(self) -> tuple[float, ...]:
        """By offer: until its first group's files are there and loaded."""
        first = float(self.arrived_bytes[0])
        return tuple(first / offer.download_bytes_per_second + offer.load_seconds for offer in self.market.offers)

    @cached_property
    def works(self) -> Floats:
        """Of each group, in megapixel-steps."""
        return np.array([group.work for group in self.groups], dtype=np.float64)

    @cached_property
    def has_patches(self) -> Floats:
        """Of each group, 1 or 0."""
        return np.array([1.0 if group.signature.patches else 0.0 for group in self.groups])

    @cached_property
    def closure_bytes(self) -> Floats:
        """Of each group: all of its files."""
        sizes = self.market.sizes
        patches = [sum([sizes[key] for key in group.signature.patches]) for group in self.groups]
        return np.array(patches, dtype=np.float64) + self.bases_bytes

    @cached_property
    def arrived_bytes(self) -> Floats:
        """Of each group: what has come when it can begin, files coming in the order of groups."""
        sizes, seen, come = self.market.sizes, set[str](), self.bases_bytes
        arrived = []
        for group in self.groups:
            for key in group.signature.patches:
                if key not in seen:
                    seen.add(key)
                    come += sizes[key]
            arrived.append(come)
        return np.array(arrived, dtype=np.float64)


def make_lots(market: Market, groups: Sequence[Group]) -> list[Lot]:
    """One lot for all groups with the same bases; more, where their files are more than a pod may hold."""
    by_bases: dict[frozenset[str], list[Group]] = {}
    for group in groups:
        by_bases.setdefault(frozenset(group.signature.bases), []).append(group)
    return [
        Lot(market, tuple(part))
        for members in by_bases.values()
        for part in _within_cap(market, sorted(members, key=lambda group: _lightness(market, group)))
    ]


def split_lot(lot: Lot, fits: Sequence[float]) -> list[Lot]:
    """Parts of a lot whose work is at most ``fits`` megapixel-steps, part by part; the last one has what is left.

    Groups stay whole where they can: equal patches stay together. The parts follow the order of patches, so that
    neighbours in a part share what they can.
    """
    parts: list[list[Group]] = []
    left = sorted(lot.groups, key=lambda group: group.signature.patches, reverse=True)
    for capacity in fits:
        if not left:
            break
        part, room = [], capacity
        while left and room > 0:
            taken, rest = divide(left[-1], room)
            if taken is None:
                break
            left.pop()
            if rest is not None:
                left.append(rest)
            part.append(taken)
            room -= taken.work
            if rest is not None:
                break
        parts.append(part)
    parts.append(left[::-1])
    return [in_order(lot.market, part) for part in parts if part]


def divide(group: Group, work: float) -> tuple[Group | None, Group | None]:
    """As many items of a group as have at most so much work, and the others; None: no items."""
    if group.work <= work * (1 + 1e-12):
        return group, None
    each = group.work / group.items
    items = math.floor(work / each + 1e-9)
    if items < 1:
        return None, group
    rest = group.items - items
    return group._replace(items=items, work=each * items), group._replace(items=rest, work=each * rest)


def in_order(market: Market, groups: Sequence[Group]) -> Lot:
    """A lot of these groups, which have the same bases; parts of one group are one again."""
    together: dict[tuple[tuple[str, ...], tuple[str, ...]], Group] = {}
    for group in groups:
        key = (group.signature.bases, group.signature.patches)
        found = together.get(key)
        together[key] = (
            group if found is None else found._replace(items=found.items + group.items, work=found.work + group.work)
        )
    return Lot(market, tuple(sorted(together.values(), key=lambda group: _lightness(market, group))))


def _lightness(market: Market, group: Group) -> tuple[float, tuple[str, ...]]:
    """Bytes of patches for each unit of work: what has little of them comes first."""
    sizes = market.sizes
    size = sum(sizes[key] for key in group.signature.patches)
    return size / group.work, group.signature.patches


def _within_cap(market: Market, groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Groups with the same bases, in as many parts as the cap needs: each goes where it adds the fewest bytes."""
    cap, sizes = market.demands.payload_cap_bytes, market.sizes
    bases = market.size_bytes(frozenset(groups[0].signature.bases))
    patches = {key for group in groups for key in group.signature.patches}
    if bases + sum(sizes[key] for key in patches) <= cap:
        yield list(groups)
        return
    parts: list[tuple[list[Group], set[str], int]] = []
    for group in sorted(groups, key=lambda group: group.signature.patches):
        best, added = None, 0
        for number, (_, present, size) in enumerate(parts):
            new = sum(sizes[key] for key in group.signature.patches if key not in present)
            if size + new <= cap and (best is None or new < added):
                best, added = number, new
        if best is None:
            own = set(group.signature.patches)
            parts.append(([group], own, bases + sum(sizes[key] for key in own)))
        else:
            members, present, size = parts[best]
            members.append(group)
            present.update(group.signature.patches)
            parts[best] = (members, present, size + added)
    for members, _, _ in parts:
        yield sorted(members, key=lambda group: _lightness(market, group))
