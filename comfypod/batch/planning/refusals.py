"""What cannot work, whatever is rented: said before anything is planned. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from comfypod.batch.documents import GIGABYTE, Signature
from comfypod.batch.planning.market import Market
from comfypod.batch.planning.workload import Workload
from comfypod.batch.wording import in_dollars, in_time
from comfypod.errors import PlanImpossible

_MOST_REASONS: Final = 10


def refuse_impossible(market: Market, workload: Workload) -> None:
    """Look for what no plan can help.

    Raises:
        PlanImpossible: there is something; its reasons say what would have to change.
    """
    reasons = list(_of_offers(market)) or list(_of_workload(market, workload)) or list(_of_signatures(market, workload))
    if reasons:
        raise refusal(reasons)


def refusal(reasons: Sequence[str]) -> PlanImpossible:
    """Of these reasons, the first ones."""
    more = len(reasons) - _MOST_REASONS
    return PlanImpossible([*reasons[:_MOST_REASONS], *([f"There are {more} more reasons."] if more > 0 else [])])


def _of_offers(market: Market) -> Iterator[str]:
    if not market.offers:
        yield "Nothing is offered to rent: name a file of offers, or another provider."
    most, least = market.demands.most_pods, market.demands.least_pods
    if most is not None and most < least:
        yield f"At least {least} and at most {most} pods exclude each other."


def _of_workload(market: Market, workload: Workload) -> Iterator[str]:
    if not workload.groups:
        yield "There are no items to plan."
    unknown: dict[str, int] = {}
    for group in workload.groups:
        for key in group.signature.assets:
            if key not in market.assets:
                unknown[key] = unknown.get(key, 0) + group.items
    for key, items in sorted(unknown.items(), key=lambda item: -item[1]):
        yield f"Nothing is known of {key}, which {items:,} items need: add it to models.toml, with its size."


def _of_signatures(market: Market, workload: Workload) -> Iterator[str]:
    cap, most_memory = market.demands.payload_cap_bytes, max(offer.memory_bytes for offer in market.offers)
    largest: dict[frozenset[str], str] = {}
    for group in workload.groups:
        size = sum(market.sizes[key] for key in group.signature.assets)
        if size > cap:
            yield (
                f"The files of {_name(group.signature)} are {_gigabytes(size)} together, more than a pod may hold "
                f"({_gigabytes(cap)}): raise the cap."
            )
        bases = frozenset(group.signature.bases)
        if bases not in largest:
            largest[bases] = _name(group.signature)
            if (memory := market.memory_bytes(group.signature)) > most_memory:
                yield (
                    f"{_name(group.signature)} needs {_gigabytes(memory)} of GPU memory, and no offer has more than "
                    f"{_gigabytes(most_memory)}: add a larger type, or say how much it needs (--gpu-memory)."
                )
    yield from _of_deadline(market, workload)


def _of_deadline(market: Market, workload: Workload) -> Iterator[str]:
    deadline = market.demands.deadline_seconds
    if deadline is None:
        return
    for group in workload.groups:
        needed = _least_seconds(market, group.signature, group.work / group.items)
        if needed > deadline:
            yield (
                f"One item of {_name(group.signature)} takes {in_time(needed)} with set-up and download, longer "
                f"than the deadline of {in_time(deadline)} allows."
            )


def _least_seconds(market: Market, signature: Signature, work: float) -> float:
    """Set-up, files, and one item, on the offer that is quickest; infinite: none has the memory."""
    size, memory = sum(market.sizes[key] for key in signature.assets), market.memory_bytes(signature)
    return min(
        offer.setup_seconds
        + size / offer.download_bytes_per_second
        + offer.load_seconds
        + (offer.patch_seconds if signature.patches else 0.0)
        + work / speed
        for offer, speed in zip(market.offers, market.speeds(signature), strict=True)
        if offer.memory_bytes >= memory
    )


def over_budget(budget: float, bound: float, dollars: float, *, without_deadline: float | None) -> PlanImpossible:
    """Why a budget does not do."""
    if budget < bound:
        return refusal([f"No plan costs less than {in_dollars(bound)}, and the budget is {in_dollars(budget)}."])
    reason = f"The cheapest plan that was found costs {in_dollars(dollars)}, and the budget is {in_dollars(budget)}."
    if without_deadline is not None and without_deadline <= budget:
        return refusal([reason, f"Without the deadline it would cost {in_dollars(without_deadline)}."])
    return refusal([reason])


def _name(signature: Signature) -> str:
    return signature.bases[0] if signature.bases else "items without a model"


def _gigabytes(size: int) -> str:
    return f"{size / GIGABYTE:.1f} GB"
