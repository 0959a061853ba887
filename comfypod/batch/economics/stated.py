"""What is stated of an alternative, and its ladder, against its own figures. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from comfypod.batch.economics.comparison import dollars_per_item, indifference_prices, next_best
from comfypod.batch.economics.findings import Finding, Verdict, compared, each, hour
from comfypod.batch.economics.study import Alternative, Study

_TOLERANCE = 0.01
"""What was printed is rounded."""


def check_alternative(study: Study, alternative: Alternative) -> Iterator[Finding]:
    """What is stated of an item, of an hour, and how far the ladder goes."""
    if alternative.stated.dollars_per_item is not None:
        yield _item_price(study, alternative, alternative.stated.dollars_per_item)
    if alternative.stated.dollars_per_hour is not None:
        yield _hour_price(study, alternative, alternative.stated.dollars_per_hour)
    other = next_best(study, alternative)
    if alternative.bid is not None and other is not None:
        yield _ladder(study, alternative, alternative.bid.ceiling, other)


def dollars_per_item_as_stated(study: Study, alternative: Alternative) -> tuple[float, float]:
    """From the hour that is stated, where one is: divided by the items of an hour."""
    stated = alternative.stated.dollars_per_hour
    if stated is None:
        return dollars_per_item(study, alternative)
    slow, fast = _items_per_hour(alternative)
    return stated / fast, stated / slow


def _item_price(study: Study, alternative: Alternative, stated: tuple[float, float]) -> Finding:
    computed = dollars_per_item_as_stated(study, alternative)
    slow, fast = _items_per_hour(alternative)
    off = [said / right - 1.0 for said, right in zip(stated, computed, strict=True)]
    needed = (stated[0] * slow, stated[0] * fast)
    needed_highest = (stated[1] * slow, stated[1] * fast)
    verdict: Verdict = "holds" if all(abs(part) <= _TOLERANCE for part in off) else "contradicted"
    sentence = f"By its price and speed it is {each(*computed)}"
    if verdict == "contradicted":
        sentence += f", so that what is stated is {compared(*off)}; {each(stated[0])} would need {hour(*needed)}"
        if stated[0] != stated[1]:
            sentence += f", and {each(stated[1])} {hour(*needed_highest)}"
    return Finding(
        f"{alternative.name}: {each(*stated)} an item",
        verdict,
        sentence + ".",
        {
            "lowest": computed[0],
            "highest": computed[1],
            "least_off": min(off, key=abs),
            "most_off": max(off, key=abs),
            "needed_dollars_per_hour_lowest": needed[0],
            "needed_dollars_per_hour_highest": needed[1],
        },
    )


def _hour_price(study: Study, alternative: Alternative, stated: float) -> Finding:
    machines = alternative.machines
    disk = alternative.disk_gigabytes * study.disk_dollars_per_gigabyte_hour
    start, ceiling = (machines * (price + disk) for price in (alternative.start_price, alternative.ceiling_price))
    needed = stated / machines - disk
    agrees = start * (1 - _TOLERANCE) <= stated <= ceiling * (1 + _TOLERANCE)
    parts = f"{machines} x (${alternative.start_price:g} + ${disk:.4f} of disk) = {hour(start)}"
    if ceiling > start:
        parts += f" at the start of the ladder, {hour(ceiling)} at its ceiling"
    return Finding(
        f"{alternative.name}: {hour(stated)} in all",
        "holds" if agrees else "contradicted",
        f"{parts}." if agrees else f"{parts}; what is stated needs a price of ${needed:.4f} for each.",
        {"start": start, "ceiling": ceiling, "disk_of_each": disk, "needed_price_of_each": needed},
    )


def _ladder(study: Study, alternative: Alternative, ceiling: float, other: Alternative) -> Finding:
    low, high = indifference_prices(study, alternative, other)
    theirs = dollars_per_item(study, other)[1]
    dearer = [price / theirs - 1.0 for price in dollars_per_item(study, alternative, ceiling)]
    figures = {"lowest": low, "highest": high, "at_ceiling_least": min(dearer), "at_ceiling_most": max(dearer)}
    says = f"{alternative.name}: bids of up to ${ceiling:g}"
    items = _speed(alternative)
    if ceiling <= low:
        return Finding(says, "holds", f"It stays below {other.name} up to {hour(low, high)} ({items}).", figures)
    return Finding(
        says,
        "depends" if ceiling <= high else "contradicted",
        f"It stays below {other.name} only up to {hour(low, high)} ({items}); at ${ceiling:g} an item is "
        f"{compared(*dearer)}. Stop there, and change to {other.name}.",
        figures,
    )


def _speed(alternative: Alternative) -> str:
    """Of one machine."""
    slow, fast = alternative.items_per_hour
    return f"at {slow:g} items/h" if slow == fast else f"at {slow:g} to {fast:g} items/h"


def _items_per_hour(alternative: Alternative) -> tuple[float, float]:
    slow, fast = alternative.items_per_hour
    return alternative.machines * slow, alternative.machines * fast
