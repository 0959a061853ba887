"""The same batch with another deadline, on another GPU, at other prices. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from comfypod.batch.documents import Asset, Offer, Plan
from comfypod.batch.planning.demands import Demands
from comfypod.batch.planning.learned import LearnedSpeeds
from comfypod.batch.planning.plan import make_plan
from comfypod.batch.planning.workload import Workload
from comfypod.batch.wording import in_time
from comfypod.errors import PlanImpossible

Question = Literal["deadline", "gpu", "price"]

_HOURS: Final = (0.5, 1.0, 2.0, 3.5, 6.0, 12.0, 24.0)
_FACTORS: Final = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


@dataclass(frozen=True, slots=True)
class Alternative:
    """One answer: the plan, or why there is none."""

    condition: str
    plan: Plan | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a plan is made from."""

    workload: Workload
    assets: Mapping[str, Asset]
    offers: Sequence[Offer]
    demands: Demands
    learned: LearnedSpeeds

    def plan(self) -> Plan:
        """Make it.

        Raises:
            PlanImpossible: as `make_plan`.
        """
        return make_plan(self.workload, self.assets, self.offers, self.demands, learned=self.learned)

    def what_if(self, question: Question) -> list[Alternative]:
        """The plans of other conditions; of the budget none takes notice."""
        free = replace(self, demands=replace(self.demands, budget_dollars=None))
        return [_answer(condition, asked) for condition, asked in _CONDITIONS[question](free)]


def _answer(condition: str, asked: Asked) -> Alternative:
    try:
        return Alternative(condition, asked.plan())
    except PlanImpossible as error:
        return Alternative(condition, None, error.reasons[0])


def _deadlines(asked: Asked) -> Iterator[tuple[str, Asked]]:
    """None, and those that are shorter than what is cheapest takes, with the one that was asked for."""
    unhurried = replace(asked, demands=replace(asked.demands, deadline_seconds=None))
    yield "none", unhurried
    longest = _seconds(unhurried)
    own = asked.demands.deadline_seconds
    deadlines = {3600 * hours for hours in _HOURS} | (set() if own is None else {own})
    for deadline in sorted(deadlines, reverse=True):
        if deadline < longest:
            yield in_time(deadline), replace(asked, demands=replace(asked.demands, deadline_seconds=deadline))


def _gpus(asked: Asked) -> Iterator[tuple[str, Asked]]:
    """Each offer alone, as many of it as the plan needs."""
    for offer in asked.offers:
        alone = offer.model_copy(update={"most_pods": 10_000})
        yield f"{offer.gpu}, {offer.price_class.replace('_', '-')}", replace(asked, offers=[alone])


def _prices(asked: Asked) -> Iterator[tuple[str, Asked]]:
    """The offers that the plan takes, cheaper and dearer, while the others stay as they are."""
    try:
        taken = {(pod.offer.gpu, pod.offer.price_class) for pod in asked.plan().pods}
    except PlanImpossible:
        taken = {(offer.gpu, offer.price_class) for offer in asked.offers}
    for factor in _FACTORS:
        offers = [
            offer.model_copy(update={"dollars_per_hour": offer.dollars_per_hour * factor})
            if (offer.gpu, offer.price_class) in taken
            else offer
            for offer in asked.offers
        ]
        yield f"{factor:g} x", replace(asked, offers=offers)


def _seconds(asked: Asked) -> float:
    try:
        return asked.plan().seconds
    except PlanImpossible:
        return float("inf")


_CONDITIONS: Final[Mapping[Question, Callable[[Asked], Iterator[tuple[str, Asked]]]]] = {
    "deadline": _deadlines,
    "gpu": _gpus,
    "price": _prices,
}
