"""What cannot work, whatever is rented: said before anything is planned. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from comfypod.batch.documents import GIGABYTE, Offer
from comfypod.batch.planning.demands import Demands
from comfypod.batch.planning.lots import Lot
from comfypod.batch.planning.market import Market
from comfypod.batch.planning.table import Floats
from comfypod.batch.planning.workload import Workload
from comfypod.batch.wording import in_dollars, in_time
from comfypod.errors import PlanImpossible

_MOST_REASONS: Final = 10


def refuse_contradictions(workload: Workload, offers: Sequence[Offer], demands: Demands) -> None:
    """Look for what says nothing that can be planned.

    Raises:
        PlanImpossible: there are no items, or no offers, or demands that exclude each other.
    """
    reasons = [] if workload.groups else ["There are no items to plan."]
    if not offers:
        reasons.append("Nothing is offered to rent: name a file of offers, or another provider.")
    most, least = demands.most_pods, demands.least_pods
    if most is not None and most < least:
        reasons.append(f"At least {least} and at most {most} pods exclude each other.")
    if reasons:
        raise refusal(reasons)


def refuse_unknown(market: Market) -> None:
    """Look for files of which nothing is known.

    Raises:
        PlanImpossible: there are some.
    """
    unknown = {key for key in market.table.keys if key not in market.assets}
    items: Counter[str] = Counter()
    for group in market.table.groups if unknown else ():
        for key in unknown.intersection(group.signature.assets):
            items[key] += group.items
    reasons = [
        f"Nothing is known of {key}, which {count:,} items need: add it to models.toml, with its size."
        for key, count in items.most_common()
    ]
    if reasons:
        raise refusal(reasons)


def refuse_impossible(market: Market, lots: Sequence[Lot]) -> None:
    """Look for what no pod can do.

    Raises:
        PlanImpossible: there is something; its reasons say what would have to change.
    """
    reasons = [reason for lot in lots for reason in _of_lot(market, lot)]
    if reasons:
        raise refusal(reasons)


def refuse_too_large(market: Market) -> None:
    """Look for items whose files are more than a pod may hold.

    Raises:
        PlanImpossible: there are such items.
    """
    table, cap = market.table, market.demands.payload_cap_bytes
    bases = np.array([table.size_bytes(files) for files in table.bases], dtype=np.float64)
    sizes = table.patch_bytes + bases[table.base_sets]
    reasons = [
        f"The files of {_name(market, table.bases[int(table.base_sets[group])])} and its patches are "
        f"{_gigabytes(sizes[group])} together, more than a pod may hold ({_gigabytes(cap)}): raise the cap."
        for group in np.flatnonzero(sizes > cap)[: _MOST_REASONS + 1]
    ]
    if reasons:
        raise refusal(reasons)


def refusal(reasons: Sequence[str]) -> PlanImpossible:
    """Of these reasons, the first ones."""
    more = len(reasons) - _MOST_REASONS
    return PlanImpossible([*reasons[:_MOST_REASONS], *([f"There are {more} more reasons."] if more > 0 else [])])


def over_budget(budget: float, bound: float, dollars: float, without_deadline: float | None) -> PlanImpossible:
    """Why a budget does not do; ``without_deadline``: what it costs then, if there is a deadline."""
    in_time_only = "" if without_deadline is None else " in time"
    if budget < bound:
        reason = f"No plan{in_time_only} costs less than {in_dollars(bound)}, and the budget is {in_dollars(budget)}."
    else:
        reason = (
            f"The cheapest plan{in_time_only} that was found costs {in_dollars(dollars)}, and the budget is "
            f"{in_dollars(budget)}."
        )
    if without_deadline is None:
        return refusal([reason])
    return refusal([reason, f"Without the deadline it would cost {in_dollars(without_deadline)}."])


def _of_lot(market: Market, lot: Lot) -> Iterator[str]:
    name = _name(market, lot.bases)
    usable = [number for number, offer in enumerate(market.offers) if offer.memory_bytes >= lot.memory_bytes]
    if not usable:
        most = max(offer.memory_bytes for offer in market.offers)
        yield (
            f"{name} needs {_gigabytes(lot.memory_bytes)} of GPU memory, and no offer has more than "
            f"{_gigabytes(most)}: add a larger type, or say how much it needs."
        )
        return
    deadline = market.demands.deadline_seconds
    needed = float(np.min([_slowest_item(lot, number) for number in usable], axis=0).max())
    if deadline is not None and needed > deadline:
        yield (
            f"One item of {name} takes {in_time(needed)} with set-up and download, longer than the deadline of "
            f"{in_time(deadline)} allows."
        )


def _slowest_item(lot: Lot, number: int) -> Floats:
    """Of each group: set-up, its files, and one item."""
    offer = lot.market.offers[number]
    fixed = offer.setup_seconds + offer.load_seconds + lot.has_patches * offer.patch_seconds
    fetching = lot.closure_bytes / offer.download_bytes_per_second
    seconds: Floats = fixed + fetching + lot.works / lot.items / lot.speeds[number]
    return seconds


def _name(market: Market, bases: frozenset[int]) -> str:
    return min((market.table.keys[file] for file in bases), default="items without a model")


def _gigabytes(size: float) -> str:
    return f"{size / GIGABYTE:.1f} GB"
