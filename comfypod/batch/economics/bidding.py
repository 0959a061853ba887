"""Up to which price a machine is the better one, and how long to wait for one that was taken away. Pure.

Work is in any unit, as long as all machines that are compared have the same: items, or megapixel-steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from comfypod.batch.documents import GIGABYTE, Offer

_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rental:
    """A machine that is rented by the hour.

    Args:
        dollars_per_hour: the price, or the bid, without the disk.
        work_per_hour: once it is set up.
        setup_hours: paid, from rented to the first item: its start and the first files. Every interruption costs it
            once more, on the next machine.
    """

    dollars_per_hour: float
    work_per_hour: float
    disk_dollars_per_hour: float = 0.0
    setup_hours: float = 0.0
    interruptions_per_hour: float = 0.0

    @property
    def all_dollars_per_hour(self) -> float:
        """With the disk."""
        return self.dollars_per_hour + self.disk_dollars_per_hour

    def hours(self, work: float) -> float:
        """Until so much work is done, expected: what is begun anew after interruptions included."""
        working = work / self.work_per_hour
        return self.setup_hours + working * (1.0 + self.interruptions_per_hour * self.setup_hours)

    def dollars_per_work(self, work: float = math.inf) -> float:
        """Expected. Without an amount: of so much that the first set-up does not count."""
        return self.all_dollars_per_hour * self._hours_per_work(work)

    def _hours_per_work(self, work: float) -> float:
        if math.isinf(work):
            return (1.0 + self.interruptions_per_hour * self.setup_hours) / self.work_per_hour
        return self.hours(work) / work

    def price_for(self, dollars_per_work: float, work: float = math.inf) -> float:
        """The price per hour, without the disk, at which a unit of work costs so much; negative: none is low enough."""
        return dollars_per_work / self._hours_per_work(work) - self.disk_dollars_per_hour


def rental_of(offer: Offer, *, disk_bytes: int = 0, first_bytes: int = 0) -> Rental:
    """An offer with a disk of this size, whose first item needs ``first_bytes`` of files; work in megapixel-steps."""
    first_seconds = offer.setup_seconds + first_bytes / offer.download_bytes_per_second + offer.load_seconds
    return Rental(
        dollars_per_hour=offer.dollars_per_hour,
        work_per_hour=offer.megapixel_steps_per_second * _SECONDS_PER_HOUR,
        disk_dollars_per_hour=offer.disk_dollars_per_gigabyte_hour * disk_bytes / GIGABYTE,
        setup_hours=first_seconds / _SECONDS_PER_HOUR,
        interruptions_per_hour=offer.interruptions_per_hour,
    )


def indifference_price(rental: Rental, next_best: Rental, work: float = math.inf) -> float:
    """The price per hour at which ``rental`` does work for what ``next_best`` takes for it; above it, take that one.

    Of the machine alone, as bids are made: both disks are taken into account. 0.0: it is not worth having at any price.
    """
    return max(0.0, rental.price_for(next_best.dollars_per_work(work), work))


def bid_ceiling(
    offer: Offer, others: Iterable[Offer], *, disk_bytes: int = 0, first_bytes: int = 0, work: float = math.inf
) -> float | None:
    """The most to bid for an interruptible offer: its indifference price with the cheapest of ``others``.

    ``others`` are those that could do the same work (memory, capacity): other types, and the same one on demand. The
    offer itself, if it is among them, is passed over. None: there is nothing else, so nothing to compare with.
    """
    rentals = [rental_of(other, disk_bytes=disk_bytes, first_bytes=first_bytes) for other in others if other != offer]
    if not rentals:
        return None
    next_best = min(rentals, key=lambda rental: rental.dollars_per_work(work))
    return indifference_price(rental_of(offer, disk_bytes=disk_bytes, first_bytes=first_bytes), next_best, work)


def bearable_interruptions_per_hour(rental: Rental, next_best: Rental) -> float:
    """Up to how many interruptions an hour ``rental`` is still the cheaper one; infinite if they cost nothing.

    Expected hours grow from T to T (1 + interruptions x set-up).
    """
    undisturbed = replace(rental, interruptions_per_hour=0.0).dollars_per_work()
    excess = next_best.dollars_per_work() / undisturbed - 1.0 if undisturbed else math.inf
    if excess <= 0:
        return 0.0
    return excess / rental.setup_hours if rental.setup_hours else math.inf


def worth_waiting_seconds(*, moving_seconds: float, dollars_per_hour: float, waiting_dollars_per_hour: float) -> float:
    """How long to wait, after an interruption, for the machine that still has the files, before moving to another.

    Until then waiting has cost what moving costs: ``moving_seconds`` (set-up and downloads) at ``dollars_per_hour``.
    Waiting costs the disk that is kept: on RunPod a stopped volume is billed double, $0.20 per GB and month. What a
    deadline is worth is not counted. Infinite, if waiting costs nothing.
    """
    if waiting_dollars_per_hour <= 0:
        return math.inf
    return moving_seconds * dollars_per_hour / waiting_dollars_per_hour
