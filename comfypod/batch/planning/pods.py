"""From a draft to a pod of the plan: its order, what that takes, and what may be bid for it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from comfypod.batch.documents import GIGABYTE, Offer, PodPlan, Share
from comfypod.batch.economics.bidding import bid_ceiling
from comfypod.batch.planning.drafts import Draft, Price
from comfypod.batch.planning.market import Market
from comfypod.batch.planning.ordering.queue import Queue, Task
from comfypod.batch.planning.ordering.search import best_order


def pod_plan(draft: Draft, price: Price, number: int, *, steps: int) -> PodPlan:
    """The plan of one pod; ``steps``: how far to look for a better order."""
    market, offer = draft.market, draft.market.offers[price.offer]
    groups = [group for lot in draft.sequence(price.offer) for group in lot.groups()]
    files = list(draft.assets)
    queue = _queue(draft, price.offer, files)
    order, outcome = best_order(queue, market.demands.objective, steps=steps)
    seconds = market.expected_seconds(price.offer, outcome.first_work, outcome.makespan - outcome.first_work)
    first_bytes = round(outcome.first_work * offer.download_bytes_per_second)
    return PodPlan(
        number=number,
        offer=offer,
        shares=tuple(
            Share(signature=groups[task].signature, items=groups[task].items, work=groups[task].work)
            for task in order.tasks
        ),
        downloads=_downloads(market, [files[file] for file in order.downloads]),
        disk_bytes=_disk_bytes(market, draft.size_bytes),
        bid_dollars_per_hour=offer.dollars_per_hour if offer.price_class == "interruptible" else None,
        bid_ceiling_dollars_per_hour=_ceiling(draft, offer, first_bytes),
        seconds=seconds,
        first_item_seconds=offer.setup_seconds + outcome.first_item,
        idle_seconds=outcome.idle,
        dollars=market.dollars(price.offer, seconds, draft.size_bytes),
    )


def _queue(draft: Draft, offer: int, files: Sequence[int]) -> Queue:
    """A draft's groups as tasks of one pod, in the order of its lots; files by their places."""
    table, rented = draft.market.table, draft.market.offers[offer]
    places = np.zeros(len(table.keys), dtype=np.int64)
    places[files] = np.arange(len(files))
    tasks: list[Task] = []
    for lot in draft.sequence(offer):
        bases = tuple(places[sorted(lot.bases)].tolist())
        owners, patches = table.patches_of(lot.members)
        cuts = np.searchsorted(owners, np.arange(len(lot.members) + 1)).tolist()
        patched = places[patches].tolist()
        seconds = (lot.works / lot.items / lot.speeds[offer]).tolist()
        tasks += [
            Task(bases, tuple(patched[cuts[number] : cuts[number + 1]]), items, seconds[number])
            for number, items in enumerate(lot.items.tolist())
        ]
    coming = (table.sizes[list(files)] / rented.download_bytes_per_second).tolist()
    return Queue(tuple(tasks), tuple(coming), rented.load_seconds, rented.patch_seconds)


def _downloads(market: Market, files: Iterable[int]) -> tuple[str, ...]:
    """Keys of what has to come."""
    keys = [market.table.keys[file] for file in files]
    return tuple(key for key in keys if not market.assets[key].comes_with_image)


def _disk_bytes(market: Market, payload_bytes: int) -> int:
    """Model files and the tool chain, in whole gigabytes, as disks are rented."""
    return math.ceil((payload_bytes + market.demands.tool_chain_bytes) / GIGABYTE) * GIGABYTE


def _ceiling(draft: Draft, offer: Offer, first_bytes: int) -> float | None:
    """The most to bid for an interruptible offer: above it, another offer that would do is cheaper for this pod."""
    if offer.price_class != "interruptible":
        return None
    market = draft.market
    others = [
        market.offers[price.offer]
        for price in Draft(market, draft.lots).prices
        if market.offers[price.offer].price_class != "interruptible" or market.offers[price.offer].gpu != offer.gpu
    ]
    work = sum(lot.work for lot in draft.lots)
    payload = _disk_bytes(market, draft.size_bytes)
    return bid_ceiling(offer, others, disk_bytes=payload, first_bytes=first_bytes, work=work)
