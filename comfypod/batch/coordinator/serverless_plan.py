"""The plan of a batch on an endpoint, which knows no pods: all items in one share, at the endpoint's price. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from comfypod.batch.documents import Asset, Offer, Plan, PodPlan, Share, Signature
from comfypod.batch.wording import in_dollars
from comfypod.errors import PlanImpossible

LOOSE_BYTES: Final = 10**15
"""Nothing is downloaded: the endpoint has its files."""


class Wanted(Protocol):
    """What is asked of a `comfypod.batch.manifest.manifest.Manifest`."""

    identifier: str
    count: int
    assets: Mapping[str, Asset]

    def signatures(self) -> dict[Signature, tuple[int, float]]:
        """How many items there are of each group, and their work."""


def serverless_plan(manifest: Wanted, offers: Sequence[Offer], at_once: int, budget_dollars: float | None) -> Plan:
    """What the items cost on an endpoint with workers of the offer that makes them for the least money.

    Raises:
        PlanImpossible: no offer is serverless, or the budget is too small.
    """
    if not offers:
        raise PlanImpossible(["None of the offers is serverless: give one with its price and speed."])
    offer = min(offers, key=lambda one: one.dollars_per_hour / one.megapixel_steps_per_second)
    groups = manifest.signatures()
    work = sum(work for _, work in groups.values())
    paid_seconds = work / offer.megapixel_steps_per_second + len(groups) * offer.load_seconds
    dollars = paid_seconds / 3600 * offer.dollars_per_hour
    if budget_dollars is not None and dollars > budget_dollars:
        problem = f"It costs about {in_dollars(dollars)}, and the budget is {in_dollars(budget_dollars)}."
        raise PlanImpossible([problem])
    seconds = paid_seconds / at_once
    pod = PodPlan(
        number=0,
        offer=offer.model_copy(update={"disk_dollars_per_gigabyte_hour": 0.0}),
        shares=tuple(
            Share(signature=signature, items=items, work=share) for signature, (items, share) in groups.items()
        ),
        downloads=(),
        disk_bytes=0,
        seconds=seconds,
        first_item_seconds=paid_seconds / max(1, manifest.count),
        idle_seconds=0.0,
        dollars=dollars,
    )
    return Plan(
        batch=manifest.identifier,
        objective="balanced",
        pods=(pod,),
        items=manifest.count,
        work=work,
        dollars=dollars,
        seconds=seconds,
        bound_dollars=dollars,
        budget_dollars=budget_dollars,
        payload_cap_bytes=LOOSE_BYTES,
        assets=tuple(manifest.assets.values()),
    )
