"""What to ask for, in which order, when there is no capacity: higher bids, then other types, then the full price. Pure.

The ceiling of a bid is the indifference price: above it the next best offer makes an item for less, so the ladder goes
on there. A flat "start and a bit more" bids past it (`comfypod.batch.economics`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from comfypod.batch.documents import Offer
from comfypod.batch.economics.bidding import bid_ceiling, rental_of

LEAST_STEP_DOLLARS: Final = 0.005
MOST_STEPS: Final = 6
"""Of one ladder: each is a call or two, and RunPod's example of a limit is 60 a minute."""
_GRAIN: Final = 10_000
"""Bids are in hundredths of a cent."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One thing to ask for."""

    offer: Offer
    bid_dollars_per_hour: float | None = None
    """None: at the full price."""


def bids(start: float, ceiling: float, step: float = LEAST_STEP_DOLLARS) -> tuple[float, ...]:
    """From start to ceiling, dollars per hour; the last one is the ceiling. Empty if it is below the start.

    Steps are wider than ``step`` where there would be more than `MOST_STEPS`.
    """
    first, last = math.ceil(round(start * _GRAIN, 3)), math.floor(round(ceiling * _GRAIN, 3))
    if last < first:
        return ()
    width = max(1, math.ceil(step * _GRAIN), math.ceil((last - first) / MOST_STEPS))
    return tuple(bid / _GRAIN for bid in [*range(first, last, width), last])


def rungs(
    wanted: Offer,
    others: Iterable[Offer] = (),
    *,
    start: float | None = None,
    ceiling: float | None = None,
    step: float = LEAST_STEP_DOLLARS,
    disk_bytes: int = 0,
    first_bytes: int = 0,
    work: float = math.inf,
) -> tuple[Rung, ...]:
    """What to ask for, best first; after ``NoCapacity`` the next one.

    Args:
        wanted: what the plan chose.
        others: offers that could do the same work: enough memory, the same files.
        start: the first bid for ``wanted``, as in `PodPlan`; None: the least that is taken.
        ceiling: the highest bid for it, as in `PodPlan`; None: from the indifference price with the best of the others.
        step: between bids, in dollars per hour.
        disk_bytes: of the pod.
        first_bytes: what its first item needs.
        work: in megapixel-steps, as much as this pod is to do.
    """

    def dollars_per_work(offer: Offer) -> float:
        return rental_of(offer, disk_bytes=disk_bytes, first_bytes=first_bytes).dollars_per_work(work)

    left = sorted((other for other in others if other != wanted), key=dollars_per_work)
    found: list[Rung] = []
    for offer in [wanted, *left]:
        left = [other for other in left if other != offer]
        if offer.price_class != "interruptible":
            found.append(Rung(offer))
            continue
        is_wanted = offer == wanted
        first = start if is_wanted and start is not None else offer.dollars_per_hour
        highest = ceiling if is_wanted else None
        if highest is None:
            highest = bid_ceiling(offer, left, disk_bytes=disk_bytes, first_bytes=first_bytes, work=work)
        # Without anything to compare with there is no reason to bid more than the least.
        found += [Rung(offer, bid) for bid in bids(first, first if highest is None else highest, step)]
    return tuple(found)
