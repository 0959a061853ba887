"""The plan of a batch: which pods, with which files and items, in which order, for how much. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from comfypod.batch.documents import Asset, Offer, Plan, PodPlan
from comfypod.batch.planning.bound import Bound, lower_bound
from comfypod.batch.planning.bulk import bulk
from comfypod.batch.planning.demands import Demands
from comfypod.batch.planning.drafts import Draft
from comfypod.batch.planning.exact import best_partition
from comfypod.batch.planning.learned import LearnedSpeeds
from comfypod.batch.planning.limits import dissolve, fewer, more, on_offers
from comfypod.batch.planning.lots import Lot, make_lots
from comfypod.batch.planning.market import Market, in_reach
from comfypod.batch.planning.ordering.search import SEARCH_STEPS
from comfypod.batch.planning.pods import pod_plan
from comfypod.batch.planning.refusals import (
    over_budget,
    refusal,
    refuse_contradictions,
    refuse_impossible,
    refuse_too_large,
    refuse_unknown,
)
from comfypod.batch.planning.savings import save
from comfypod.batch.planning.splitting import first_drafts
from comfypod.batch.planning.table import make_table
from comfypod.batch.planning.workload import Workload
from comfypod.batch.wording import in_time

_EXACT_UP_TO: Final = 8
"""Lots of which all partitions are looked at."""
_DISSOLVE_UP_TO: Final = 250
_STEPS: Final = 300_000
"""Tasks that are simulated to find good orders, for all pods together."""
_MARGINS: Final = (0.99, 0.97, 0.93, 0.85)
"""Of the deadline, one after the other, where pods with their orders take longer than was estimated."""


def make_plan(
    workload: Workload,
    assets: Mapping[str, Asset],
    offers: Sequence[Offer],
    demands: Demands | None = None,
    *,
    learned: LearnedSpeeds | None = None,
) -> Plan:
    """The cheapest plan that is found for a workload and keeps to the demands; the same one for the same arguments.

    Raises:
        PlanImpossible: there is none; its reasons say what would have to change.
    """
    wanted = demands or Demands()
    refuse_contradictions(workload, offers, wanted)
    with bulk():
        market = Market(in_reach(offers), assets, make_table(workload, assets), wanted, learned or LearnedSpeeds())
        return _best_plan(market, workload.batch)


def _best_plan(market: Market, batch: str) -> Plan:
    refuse_unknown(market)
    refuse_too_large(market)
    lots = make_lots(market)
    refuse_impossible(market, lots)
    bound = lower_bound(market, lots)
    pods = _pods_in_time(market, lots)
    dollars, budget = sum(pod.dollars for pod in pods), market.demands.budget_dollars
    if budget is not None and dollars > budget:
        raise over_budget(budget, bound.dollars, dollars, _without_deadline(market))
    return _plan(market, batch, pods, bound)


def partition(market: Market, lots: Sequence[Lot]) -> list[Draft]:
    """The pods, without their orders.

    Raises:
        PlanImpossible: the deadline, or the number of pods, does not do.
    """
    drafts = first_drafts(market, lots)
    if any(not draft.prices for draft in drafts):
        raise refusal([_too_short(market)])
    pods = best_partition(drafts) if len(drafts) <= _EXACT_UP_TO else save(drafts)
    demands = market.demands
    if demands.deadline_seconds is not None and len(pods) <= _DISSOLVE_UP_TO:
        pods = dissolve(pods)
    if demands.most_pods is not None:
        pods = fewer(pods, demands.most_pods)
    return more(pods, demands.least_pods)


def _pods_in_time(market: Market, lots: Sequence[Lot]) -> list[PodPlan]:
    """Pods with their orders. An order may take a little longer than was estimated: then with some of the deadline."""
    deadline = market.demands.deadline_seconds
    pods = _pods(market, lots)
    if deadline is None:
        return pods
    margins = iter(_MARGINS)
    while any(pod.seconds > deadline for pod in pods):
        margin = next(margins, None)
        if margin is None:
            raise refusal([_too_short(market)])
        tighter = replace(market, demands=replace(market.demands, deadline_seconds=deadline * margin))
        pods = _pods(tighter, [replace(lot, market=tighter) for lot in lots])
    return pods


def _pods(market: Market, lots: Sequence[Lot]) -> list[PodPlan]:
    drafts = partition(market, lots)
    chosen = on_offers(drafts)
    most = market.demands.most_pods
    while chosen is None and len(drafts) > 1:  # too few of every offer
        merged = fewer(drafts, len(drafts) - 1)
        if len(merged) == len(drafts):
            break
        drafts, chosen = merged, on_offers(merged)
    if chosen is None or (most is not None and len(drafts) > most):
        raise refusal([_too_many(market, len(drafts))])
    steps = min(SEARCH_STEPS, _STEPS // len(drafts))
    ordered = sorted(chosen, key=lambda item: -item[1].dollars)
    return [pod_plan(draft, price, number, steps=steps) for number, (draft, price) in enumerate(ordered)]


def _plan(market: Market, batch: str, pods: Sequence[PodPlan], bound: Bound) -> Plan:
    demands = market.demands
    return Plan(
        batch=batch,
        objective=demands.objective,
        pods=tuple(pods),
        items=int(market.table.items.sum()),
        work=float(market.table.works.sum()),
        dollars=sum(pod.dollars for pod in pods),
        seconds=max(pod.seconds for pod in pods),
        bound_dollars=bound.dollars,
        bound_seconds=bound.seconds,
        deadline_seconds=demands.deadline_seconds,
        budget_dollars=demands.budget_dollars,
        payload_cap_bytes=demands.payload_cap_bytes,
        assets=tuple(market.assets[key] for key in sorted(market.table.keys)),
    )


def _without_deadline(market: Market) -> float | None:
    if market.demands.deadline_seconds is None:
        return None
    freed = replace(market, demands=replace(market.demands, deadline_seconds=None))
    return sum(pod.dollars for pod in _pods(freed, make_lots(freed)))


def _too_short(market: Market) -> str:
    return (
        f"The deadline of {in_time(market.demands.deadline_seconds)} is too short for some items: their set-up, files "
        "and work take longer on every offer that has the memory for them."
    )


def _too_many(market: Market, needed: int) -> str:
    limits = f"at most {market.demands.most_pods} are allowed" if market.demands.most_pods else "fewer are offered"
    return f"This takes {needed} pods, and {limits}: allow more pods or a later deadline, or add offers."
