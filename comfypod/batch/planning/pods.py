"""From a draft to a pod of the plan: its order, what that takes, and what may be bid for it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np

from comfypod.batch.documents import GIGABYTE, PodPlan, Share
from comfypod.batch.economics.bidding import bid_ceiling
from comfypod.batch.planning.drafts import Draft, Price
from comfypod.batch.planning.lots import Lot
from comfypod.batch.planning.market import Market
from comfypod.batch.planning.ordering.line import Line
from comfypod.batch.planning.ordering.queue import Outcome, Queue, Task
from comfypod.batch.planning.ordering.search import best_order
from comfypod.batch.planning.table import Integers

_LEAST_ORDERS: Final = 4
"""Those that a search looks at in any case."""


class _Ordered(NamedTuple):
    """Shares in the order in which they are made, files in the order in which they come, and what becomes of it."""

    shares: tuple[Share, ...]
    files: Sequence[int]
    outcome: Outcome


def pod_plan(draft: Draft, price: Price, number: int, *, steps: int) -> PodPlan:
    """The plan of one pod; ``steps``: how far to look for a better order."""
    market, offer = draft.market, draft.market.offers[price.offer]
    tasks = sum(len(lot.members) for lot in draft.lots)
    ordered = _searched(draft, price.offer, steps) if tasks * _LEAST_ORDERS <= steps else _in_line(draft, price.offer)
    outcome = ordered.outcome
    seconds = market.expected_seconds(price.offer, outcome.first_work, outcome.makespan - outcome.first_work)
    first_bytes = round(outcome.first_work * offer.download_bytes_per_second)
    return PodPlan(
        number=number,
        offer=offer,
        shares=ordered.shares,
        downloads=_downloads(market, ordered.files),
        disk_bytes=_disk_bytes(market, draft.size_bytes),
        bid_dollars_per_hour=offer.dollars_per_hour if offer.price_class == "interruptible" else None,
        bid_ceiling_dollars_per_hour=_ceiling(draft, price, first_bytes),
        seconds=seconds,
        first_item_seconds=offer.setup_seconds + outcome.first_item,
        idle_seconds=outcome.idle,
        dollars=market.dollars(price.offer, seconds, draft.size_bytes),
    )


def _searched(draft: Draft, offer: int, steps: int) -> _Ordered:
    """In the best order that is found."""
    files = sorted(draft.assets)
    order, outcome = best_order(_queue(draft, offer, files), draft.market.demands.objective, steps=steps)
    shares = _shares(draft.sequence(offer), np.array(order.tasks, dtype=np.int64))
    return _Ordered(shares, [files[file] for file in order.downloads], outcome)


def _in_line(draft: Draft, offer: int) -> _Ordered:
    """In the order of lots, of which it is only chosen which one is first."""
    table, rented = draft.market.table, draft.market.offers[offer]
    lots = draft.sequence(offer)
    counts = [len(lot.members) for lot in lots]
    begins = np.cumsum([0, *counts[:-1]])
    needs = [_needs(lot, int(begin)) for lot, begin in zip(lots, begins, strict=True)]
    line = Line(
        numbers=np.arange(sum(counts)),
        blocks=np.repeat(np.arange(len(lots)), counts),
        items=np.concatenate([lot.items for lot in lots]),
        item_seconds=np.concatenate([lot.works / lot.items / lot.speeds[offer] for lot in lots]),
        has_patches=np.concatenate([lot.has_patches for lot in lots]),
        owners=np.concatenate([owners for owners, _ in needs]),
        files=np.concatenate([files for _, files in needs]),
        file_seconds=table.sizes / rented.download_bytes_per_second,
        load_seconds=rented.load_seconds,
        patch_seconds=rented.patch_seconds,
    ).sorted_for(draft.market.demands.objective)
    return _Ordered(_shares(lots, line.numbers), line.downloads.tolist(), line.outcome)


def _shares(lots: Sequence[Lot], order: Integers) -> tuple[Share, ...]:
    """All groups of lots, in this order of their places."""
    table = lots[0].market.table
    members = np.concatenate([lot.members for lot in lots])[order]
    items = np.concatenate([lot.items for lot in lots])[order]
    works = np.concatenate([lot.works for lot in lots])[order]
    shares = [table.groups[member] for member in members.tolist()]
    for place in np.flatnonzero(items < table.items[members]).tolist():
        shares[place] = Share(shares[place].signature, int(items[place]), float(works[place]))
    return tuple(shares)


def _needs(lot: Lot, begin: int) -> tuple[Integers, Integers]:
    """Places of groups, the first of which is ``begin``, and the files that they need: bases, then patches."""
    owners, patches = lot.market.table.patches_of(lot.members)
    bases = np.array(sorted(lot.bases), dtype=np.int64)
    count = len(lot.members)
    whose = np.concatenate([np.repeat(np.arange(count), len(bases)), owners])
    order = np.argsort(whose, kind="stable")
    return whose[order] + begin, np.concatenate([np.tile(bases, count), patches])[order]


def _queue(draft: Draft, offer: int, files: Sequence[int]) -> Queue:
    """A draft's groups as tasks of one pod, in the order of its lots; files by their places."""
    table, rented = draft.market.table, draft.market.offers[offer]
    places = {file: place for place, file in enumerate(files)}
    tasks: list[Task] = []
    for lot in draft.sequence(offer):
        bases = tuple(places[file] for file in sorted(lot.bases))
        owners, patches = table.patches_of(lot.members)
        cuts = np.searchsorted(owners, np.arange(len(lot.members) + 1)).tolist()
        patched = [places[file] for file in patches.tolist()]
        seconds = (lot.works / lot.items / lot.speeds[offer]).tolist()
        tasks += [
            Task(bases, tuple(patched[cuts[number] : cuts[number + 1]]), items, seconds[number])
            for number, items in enumerate(lot.items.tolist())
        ]
    coming = (table.sizes[list(files)] / rented.download_bytes_per_second).tolist()
    return Queue(tuple(tasks), tuple(coming), rented.load_seconds, rented.patch_seconds)


def _downloads(market: Market, files: Iterable[int]) -> tuple[str, ...]:
    """Keys of what has to come."""
    keys, present = market.table.keys, market.in_image
    return tuple([keys[file] for file in files if file not in present])


def _disk_bytes(market: Market, payload_bytes: int) -> int:
    """Model files and the tool chain, in whole gigabytes, as disks are rented."""
    return math.ceil((payload_bytes + market.demands.tool_chain_bytes) / GIGABYTE) * GIGABYTE


def _ceiling(draft: Draft, price: Price, first_bytes: int) -> float | None:
    """The most to bid for an interruptible offer: above it, the next best one that would do is cheaper for this pod.

    Offers that are cheaper already are no alternative: there are no more of them.
    """
    market = draft.market
    offer = market.offers[price.offer]
    if offer.price_class != "interruptible":
        return None
    prices = Draft(market, draft.lots).prices
    others = [market.offers[other.offer] for other in prices if other > price and other.offer != price.offer]
    ceiling = bid_ceiling(
        offer,
        others,
        disk_bytes=_disk_bytes(market, draft.size_bytes),
        first_bytes=first_bytes,
        work=sum(lot.work for lot in draft.lots),
    )
    return None if ceiling is None else max(ceiling, offer.dollars_per_hour)
