"""What no plan can be better than: dollars and seconds that follow from the work and the files alone. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from comfypod.batch.documents import GIGABYTE
from comfypod.batch.planning.lots import Lot
from comfypod.batch.planning.market import HOUR, Market


class Bound(NamedTuple):
    """No plan has less of either."""

    dollars: float
    seconds: float


class _Start(NamedTuple):
    """The least that one more pod takes before it works, on the offer where that is least; without loading."""

    seconds: float
    dollars: float


def lower_bound(market: Market, lots: Sequence[Lot]) -> Bound:
    """The bound for these lots, however they are taken apart; together they hold every group of the batch.

    Every item is made at the best price for its work while only its own files lie on the disk; every signature's
    patches are laid on once and every set of bases is loaded once; and there are as many starts, each with the
    smallest files, as the deadline and the cap need pods.
    """
    smallest = float(min(lot.closure_bytes.min() for lot in lots))
    start = _start(market, smallest)
    bases = {lot.bases: lot for lot in lots}
    working = sum(min(lot.work / lot.speeds[offer] for offer in _usable(market, lot)) for lot in lots)
    dollars = sum(_work_dollars(market, lot, smallest) for lot in lots) + sum(
        _load_dollars(market, lot) for lot in bases.values()
    )
    most_pods = market.demands.most_pods or sum(offer.most_pods for offer in market.offers)
    return Bound(
        dollars + _least_pods(market, lots, working, start) * start.dollars,
        max(start.seconds + working / most_pods, *(_first_of_largest(market, lot) for lot in lots)),
    )


def _usable(market: Market, lot: Lot) -> Sequence[int]:
    """Offers whose memory is enough; there is one, or no plan is made at all."""
    return [number for number, offer in enumerate(market.offers) if offer.memory_bytes >= lot.memory_bytes]


def _work_dollars(market: Market, lot: Lot, smallest: float) -> float:
    """Work and changes of patches, each group on the offer that is best for it; interruptions cost a start."""
    best = np.full(len(lot.members), math.inf)
    for number in _usable(market, lot):
        offer = market.offers[number]
        begin = offer.setup_seconds + smallest / offer.download_bytes_per_second
        seconds = lot.works / lot.speeds[number] + lot.has_patches * offer.patch_seconds
        seconds = seconds * (1.0 + offer.interruptions_per_hour * begin / HOUR)
        disk = (lot.closure_bytes + market.demands.tool_chain_bytes) / GIGABYTE
        best = np.minimum(best, seconds / HOUR * (offer.dollars_per_hour + offer.disk_dollars_per_gigabyte_hour * disk))
    return float(best.sum())


def _load_dollars(market: Market, lot: Lot) -> float:
    return min(
        market.dollars(number, market.offers[number].load_seconds, lot.bases_bytes) for number in _usable(market, lot)
    )


def _start(market: Market, smallest: float) -> _Start:
    seconds = [offer.setup_seconds + smallest / offer.download_bytes_per_second for offer in market.offers]
    return _Start(
        min(seconds), min(market.dollars(number, value, round(smallest)) for number, value in enumerate(seconds))
    )


def _least_pods(market: Market, lots: Sequence[Lot], working: float, start: _Start) -> int:
    """As the cap and the deadline need them."""
    every = market.table.size_bytes(frozenset().union(*(lot.assets for lot in lots)))
    by_cap = math.ceil(every / market.demands.payload_cap_bytes - 1e-9)
    deadline = market.demands.deadline_seconds
    by_deadline = 0
    if deadline is not None and deadline > start.seconds:
        by_deadline = math.ceil(working / (deadline - start.seconds) - 1e-9)
    return max(1, by_cap, by_deadline)


def _first_of_largest(market: Market, lot: Lot) -> float:
    """Until the files of the group that has most of them are there."""
    largest = float(lot.closure_bytes.max())
    offers = [market.offers[number] for number in _usable(market, lot)]
    return min(offer.setup_seconds + largest / offer.download_bytes_per_second for offer in offers)
