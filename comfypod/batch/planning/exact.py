"""The best of all ways to bring lots together on pods: dynamic programming over subsets, for a dozen of them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from comfypod.batch.planning.drafts import Draft, together

MOST_LOTS: Final = 13


def best_partition(drafts: Sequence[Draft]) -> list[Draft]:
    """The cheapest pods for these, none of which is taken apart; 3 to the power of their number steps.

    Raises:
        ValueError: there are more than `MOST_LOTS`.
    """
    count = len(drafts)
    if count > MOST_LOTS:
        raise ValueError(f"{count} are too many")
    pods = [_pod(drafts, members) for members in range(1 << count)]
    prices = [math.inf if pod is None else pod.price.dollars for pod in pods]
    best, last = [0.0] * (1 << count), [0] * (1 << count)
    for members in range(1, 1 << count):
        best[members], last[members] = _cheapest_last(members, best, prices)
    found, members = [], (1 << count) - 1
    while members:
        pod = pods[last[members]]
        if pod is not None:
            found.append(pod)
        members &= ~last[members]
    return found


def _cheapest_last(members: int, best: Sequence[float], prices: Sequence[float]) -> tuple[float, int]:
    """The pod with the first of these members that is cheapest together with the best pods for the others."""
    lowest = members & -members
    others = members ^ lowest
    found, subset = (math.inf, members), others
    while True:
        pod = subset | lowest
        if prices[pod] + best[members ^ pod] < found[0]:
            found = prices[pod] + best[members ^ pod], pod
        if not subset:
            return found
        subset = (subset - 1) & others


def _pod(drafts: Sequence[Draft], members: int) -> Draft | None:
    chosen = [draft for number, draft in enumerate(drafts) if members >> number & 1]
    if not chosen:
        return None
    return Draft(chosen[0].market, together(lot for draft in chosen for lot in draft.lots))
