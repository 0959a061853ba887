"""What an item costs by each alternative of a study, and how they compare. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from comfypod.batch.economics.bidding import Rental, indifference_price
from comfypod.batch.economics.study import Alternative, Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One alternative; pairs are of its lowest and its highest figure.

    Args:
        dollars_per_hour: of all its machines with their disks, at the start and at the ceiling of the ladder.
        dollars_per_item: at the start; ``dollars_per_item_at_ceiling``, at the ceiling.
        indifference_price: of one machine without its disk: above it the next best alternative is cheaper, at the
            lowest and at the highest speed. None: there is no other.
        relative: its dearest item against the dearest of the cheapest alternative; 0.0: it is that one.
        hours, dollars: until all items are made; None, if the study does not say how many there are.
    """

    name: str
    dollars_per_hour: tuple[float, float]
    items_per_hour: tuple[float, float]
    dollars_per_item: tuple[float, float]
    dollars_per_item_at_ceiling: tuple[float, float]
    next_best: str | None
    indifference_price: tuple[float, float] | None
    relative: float
    hours: tuple[float, float] | None
    dollars: tuple[float, float] | None


def compare(study: Study) -> tuple[Comparison, ...]:
    """Every alternative of the study, in its order."""
    cheapest = min(dollars_per_item(study, each)[1] for each in study.alternatives)
    return tuple(_compared(study, each, cheapest) for each in study.alternatives)


def rentals_of(study: Study, alternative: Alternative, price: float | None = None) -> tuple[Rental, Rental]:
    """One machine at its lowest and at its highest speed, at its start price or another."""
    dollars = alternative.start_price if price is None else price
    slow, fast = alternative.items_per_hour
    disk = study.disk_dollars_per_gigabyte_hour
    return alternative.rental(dollars, slow, disk), alternative.rental(dollars, fast, disk)


def next_best(study: Study, alternative: Alternative) -> Alternative | None:
    """The cheapest of the others; None, if there is none."""
    others = [other for other in study.alternatives if other is not alternative]
    return min(others, key=lambda other: dollars_per_item(study, other)[1]) if others else None


def dollars_per_item(study: Study, alternative: Alternative, price: float | None = None) -> tuple[float, float]:
    """The lowest (at its highest speed) and the highest, for all items of the study, or very many."""
    slow, fast = rentals_of(study, alternative, price)
    each = items_of_each_machine(study, alternative)
    return fast.dollars_per_work(each), slow.dollars_per_work(each)


def items_of_each_machine(study: Study, alternative: Alternative) -> float:
    """How many each has to make; infinite, where the study does not say."""
    return math.inf if study.items is None else study.items / alternative.machines


def indifference_prices(study: Study, alternative: Alternative, other: Alternative) -> tuple[float, float]:
    """Of one machine, at its lowest and at its highest speed, against the other at its worst."""
    each = items_of_each_machine(study, alternative)
    asked = dollars_per_item(study, other)[1]
    stand_in = Rental(dollars_per_hour=asked, work_per_hour=1.0)
    slow, fast = rentals_of(study, alternative)
    return indifference_price(slow, stand_in, each), indifference_price(fast, stand_in, each)


def _compared(study: Study, alternative: Alternative, cheapest: float) -> Comparison:
    slow, fast = rentals_of(study, alternative)
    machines = alternative.machines
    other = next_best(study, alternative)
    at_start = dollars_per_item(study, alternative)
    return Comparison(
        name=alternative.name,
        dollars_per_hour=(
            machines * slow.all_dollars_per_hour,
            machines * rentals_of(study, alternative, alternative.ceiling_price)[0].all_dollars_per_hour,
        ),
        items_per_hour=(machines * slow.work_per_hour, machines * fast.work_per_hour),
        dollars_per_item=at_start,
        dollars_per_item_at_ceiling=dollars_per_item(study, alternative, alternative.ceiling_price),
        next_best=None if other is None else other.name,
        indifference_price=None if other is None else indifference_prices(study, alternative, other),
        relative=at_start[1] / cheapest - 1.0,
        hours=None if study.items is None else (fast.hours(study.items / machines), slow.hours(study.items / machines)),
        dollars=None if study.items is None else (at_start[0] * study.items, at_start[1] * study.items),
    )
