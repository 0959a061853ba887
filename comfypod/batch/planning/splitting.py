"""Lots that are too much for one pod before the deadline, taken apart into full pods and one for the rest. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from comfypod.batch.planning.drafts import Draft, Price
from comfypod.batch.planning.lots import Lot, Pile
from comfypod.batch.planning.market import HOUR, Market

_SHRINK: Final = (1.0, 0.999, 0.99, 0.95, 0.85, 0.7, 0.5, 0.3, 0.15, 0.05)


def first_drafts(market: Market, lots: Sequence[Lot]) -> list[Draft]:
    """A pod for every lot, or several, where the deadline wants it."""
    return [draft for lot in lots for draft in _drafts_of(market, lot)]


def part_of(pile: Pile, lot: Lot, offer: int, seconds: float) -> tuple[Lot | None, Pile | None]:
    """As much of a pile, which a lot was, as one pod makes in so many seconds from rented to ended; and the rest."""
    capacity = _capacity(lot, offer, seconds)
    for factor in _SHRINK:
        part, rest = pile.take(capacity * factor)
        if part is None:
            break
        if Draft(pile.market, (part,)).seconds(offer) <= seconds:
            return part, rest
    return None, pile


def _drafts_of(market: Market, lot: Lot) -> list[Draft]:
    whole = Draft(market, (lot,))
    deadline = market.demands.deadline_seconds
    if deadline is None:
        return [whole]
    ranked = _ranked(lot, deadline)
    if not ranked:
        return [whole]
    best = ranked[0]
    dollars = best.dollars / best.seconds * lot.work
    if any(price.offer == best.offer or price.dollars <= dollars for price in whole.prices):
        return [whole]
    return [Draft(market, (part,)) for part in _parts(lot, best.offer, deadline)]


def _parts(lot: Lot, offer: int, deadline: float) -> Iterator[Lot]:
    """Full pods' worth of a lot, and the rest of it."""
    left: Pile | None = Pile.of(lot)
    while left is not None:
        part, rest = part_of(left, lot, offer, deadline)
        if part is None:
            yield left.lot()
            return
        yield part
        left = rest


def _ranked(lot: Lot, deadline: float) -> list[Price]:
    """Offers by dollars for each unit of work of a pod that is full; ``seconds`` is the work of one."""
    market, found = lot.market, []
    for number, offer in enumerate(market.offers):
        capacity = _capacity(lot, number, deadline)
        if offer.memory_bytes < lot.memory_bytes or capacity < float((lot.works / lot.items).max()):
            continue
        share = min(capacity, lot.work)
        seconds = deadline * share / capacity
        found.append(Price(market.dollars(number, seconds, lot.size_bytes), share, number))
    return sorted(found, key=lambda price: price.dollars / price.seconds)


def _capacity(lot: Lot, offer: int, seconds: float) -> float:
    """How much work one pod can do in so many seconds, if the link does not hold it back; in megapixel-steps."""
    rented = lot.market.offers[offer]
    begin = rented.setup_seconds + lot.first_seconds[offer]
    rest = (seconds - begin) / (1.0 + rented.interruptions_per_hour * begin / HOUR)
    if rest <= 0 or not math.isfinite(rest):
        return 0.0
    each = lot.work / len(lot.members)
    changes = lot.changes / len(lot.members) * rented.patch_seconds / each
    return rest / (1.0 / lot.speeds[offer] + changes)
