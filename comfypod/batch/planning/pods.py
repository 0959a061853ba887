"""From a draft to a pod of the plan: its order, what that takes, and what may be bid for it. Pure."""

from __future__ import annotations

import math

from comfypod.batch.documents import GIGABYTE, Offer, PodPlan, Share
from comfypod.batch.economics.bidding import bid_ceiling
from comfypod.batch.planning.drafts import Draft, Price
from comfypod.batch.planning.market import Market
from comfypod.batch.planning.ordering.queue import Queue, Task
from comfypod.batch.planning.ordering.search import best_order


def pod_plan(draft: Draft, price: Price, number: int, *, moves: int) -> PodPlan:
    """The plan of one pod; ``moves``: how long to look for a better order."""
    market, offer = draft.market, draft.market.offers[price.offer]
    lots = draft.sequence(price.offer)
    groups = [group for lot in lots for group in lot.groups]
    keys = list(dict.fromkeys(key for group in groups for key in group.signature.assets))
    queue = _queue(draft, price.offer, keys)
    order, outcome = best_order(queue, market.demands.objective, moves=moves)
    seconds = market.expected_seconds(price.offer, outcome.first_work, outcome.makespan - outcome.first_work)
    first_bytes = round(outcome.first_work * offer.download_bytes_per_second)
    return PodPlan(
        number=number,
        offer=offer,
        shares=tuple(
            Share(signature=groups[task].signature, items=groups[task].items, work=groups[task].work)
            for task in order.tasks
        ),
        downloads=tuple(keys[asset] for asset in order.downloads if not market.assets[keys[asset]].comes_with_image),
        disk_bytes=_disk_bytes(market, draft.size_bytes),
        bid_dollars_per_hour=offer.dollars_per_hour if offer.price_class == "interruptible" else None,
        bid_ceiling_dollars_per_hour=_ceiling(draft, offer, first_bytes),
        seconds=seconds,
        first_item_seconds=offer.setup_seconds + outcome.first_item,
        idle_seconds=outcome.idle,
        dollars=market.dollars(price.offer, seconds, draft.size_bytes),
    )


def _queue(draft: Draft, offer: int, keys: list[str]) -> Queue:
    """A draft's groups as tasks of one pod, in the order of its lots."""
    market, rented = draft.market, draft.market.offers[offer]
    numbers = {key: number for number, key in enumerate(keys)}
    tasks = tuple(
        Task(
            tuple([numbers[key] for key in group.signature.bases]),
            tuple([numbers[key] for key in group.signature.patches]),
            group.items,
            group.work / group.items / lot.speeds[offer],
        )
        for lot in draft.sequence(offer)
        for group in lot.groups
    )
    seconds = tuple(market.sizes[key] / rented.download_bytes_per_second for key in keys)
    return Queue(tasks, seconds, rented.load_seconds, rented.patch_seconds)


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
