"""How many pods there may be: fewer or more than would be cheapest, and of each offer no more than there are. Pure."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

from comfypod.batch.planning.drafts import Draft, Price, together
from comfypod.batch.planning.lots import Lot, Pile
from comfypod.batch.planning.splitting import part_of

_DISSOLVED = 40
"""So many pods, those with the least to do, are tried to be done without."""
_PAIRS = 2000
"""At most so many are looked at for each pod that is one too many."""


def dissolve(pods: Sequence[Draft]) -> list[Draft]:
    """Without the pods whose work finds room on others before the deadline, where that is cheaper.

    Under a deadline merging leaves gaps, since it moves whole pods; here lots are taken apart to fill them.
    """
    found = list(pods)
    deadline = pods[0].market.demands.deadline_seconds if pods else None
    for pod in sorted(pods, key=lambda pod: pod.price.seconds)[:_DISSOLVED]:
        others = [other for other in found if other is not pod]
        if deadline is None or len(others) == len(found) or not others:
            continue  # it has become another one meanwhile
        if sum(deadline - other.price.seconds for other in others) < pod.least_work_seconds:
            break
        spread = _spread(pod, others)
        if spread is not None and _dollars(spread) < _dollars(found) - 1e-12:
            found = spread
    return found


def fewer(pods: Sequence[Draft], most: int) -> list[Draft]:
    """At most so many pods, if that can be: those merged first that cost least more; then lots taken apart."""
    found = list(pods)
    while len(found) > most:
        pair = _cheapest_pair(found)
        if pair is None:
            break
        first, second, merged = pair
        found = [pod for pod in found if pod is not first and pod is not second]
        found.append(merged)
    while len(found) > most:
        smallest = min(found, key=lambda pod: pod.price.seconds)
        spread = _spread(smallest, [pod for pod in found if pod is not smallest])
        if spread is None:
            break
        found = spread
    return found


def more(pods: Sequence[Draft], least: int) -> list[Draft]:
    """At least so many pods, as far as there are items: the longest taken apart."""
    found = list(pods)
    while len(found) < least:
        halves = next(
            (
                (pod, parts)
                for pod in sorted(found, key=lambda pod: -pod.price.seconds)
                if len(parts := _halves(pod)) == 2
            ),
            None,
        )
        if halves is None:
            break
        pod, parts = halves
        found = [other for other in found if other is not pod] + list(parts)
    return found


def on_offers(pods: Sequence[Draft]) -> list[tuple[Draft, Price]] | None:
    """An offer for each pod, so that there are no more of one than it allows; None: there are too few.

    The pods for which another offer would cost most more choose first.
    """
    taken: Counter[int] = Counter()
    chosen = []
    for pod in sorted(pods, key=_regret, reverse=True):
        whole = Draft(pod.market, pod.lots)
        price = next((price for price in whole.prices if taken[price.offer] < _most(pod, price.offer)), None)
        if price is None:
            return None
        taken[price.offer] += 1
        chosen.append((pod, price))
    return chosen


def _most(pod: Draft, offer: int) -> int:
    return pod.market.offers[offer].most_pods


def _regret(pod: Draft) -> float:
    prices = Draft(pod.market, pod.lots).prices
    return prices[1].dollars - prices[0].dollars if len(prices) > 1 else float("inf")


def _dollars(pods: Sequence[Draft]) -> float:
    return sum(pod.price.dollars for pod in pods)


def _cheapest_pair(pods: Sequence[Draft]) -> tuple[Draft, Draft, Draft] | None:
    """Two pods, and both as one: those that cost least more, and take the least time, of many."""
    ordered = sorted(pods, key=lambda pod: pod.price.seconds)
    best: tuple[tuple[float, float], tuple[Draft, Draft, Draft]] | None = None
    for first, second in itertools.islice(itertools.combinations(ordered, 2), _PAIRS):
        merged = Draft(first.market, together((*first.lots, *second.lots)))
        if not merged.prices:
            continue
        more_dollars = merged.price.dollars - first.price.dollars - second.price.dollars
        key = (more_dollars, merged.price.seconds)
        if best is None or key < best[0]:
            best = key, (first, second, merged)
    return None if best is None else best[1]


def _spread(pod: Draft, others: Sequence[Draft]) -> list[Draft] | None:
    """The others with a pod's lots, taken apart as they fit; None: they have no room for all of it."""
    found = list(others)
    for lot in sorted(pod.lots, key=lambda lot: -lot.work):
        left: Lot | None = lot
        for number in _by_room(found, lot):
            if left is None:
                break
            found[number], left = _filled(found[number], left)
        if left is not None:
            return None
    return found


def _by_room(pods: Sequence[Draft], lot: Lot) -> list[int]:
    """Numbers of pods: those that have the lot's bases first, then those with the most time left."""
    return sorted(
        (number for number, pod in enumerate(pods) if pod.prices),
        key=lambda number: (not pods[number].assets >= lot.bases, pods[number].price.seconds),
    )


def _filled(pod: Draft, lot: Lot) -> tuple[Draft, Lot | None]:
    """A pod with as much of a lot as it has room for, and what is left of the lot."""
    whole = Draft(pod.market, together((*pod.lots, lot)), pod.choice)
    if whole.prices:
        return whole, None
    deadline, offer = pod.market.demands.deadline_seconds, pod.price.offer
    if deadline is None:
        return pod, lot
    rented, pile = pod.market.offers[offer], Pile.of(lot)
    room = deadline - pod.price.seconds + rented.setup_seconds
    for factor in (1.0, 0.97, 0.9, 0.75, 0.5):
        part, left = part_of(pile, lot, offer, room * factor)
        if part is None:
            break
        filled = Draft(pod.market, together((*pod.lots, part)), pod.choice)
        if filled.prices:
            return filled, None if left is None else left.lot()
    return pod, lot


def _halves(pod: Draft) -> list[Draft]:
    """A pod as two: its lots shared out by their work, or its only lot taken apart."""
    if len(pod.lots) > 1:
        sides: tuple[list[Lot], list[Lot]] = ([], [])
        for lot in sorted(pod.lots, key=lambda lot: -lot.work):
            min(sides, key=lambda side: sum(other.work for other in side)).append(lot)
        parts = [tuple(side) for side in sides]
    else:
        parts = [(part,) for part in _in_two(pod.lots[0])]
    return [Draft(pod.market, part) for part in parts if part]


def _in_two(lot: Lot) -> list[Lot]:
    """A lot in halves, as near as its items allow."""
    part, rest = Pile.of(lot).take(lot.work / 2)
    return [half for half in (part, None if rest is None else rest.lot()) if half is not None]
