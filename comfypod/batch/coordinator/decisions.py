"""What is to be done with a batch's pods, at one moment: the rules, each a function. Pure.

Money first: what is decided must leave enough of the budget for pods to finish what they are at. Then ending: what has
said goodbye, is silent, or is past its time. Then renting: the plan's pods, as long as there is something for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from comfypod.batch.coordinator.situation import (
    HOUR,
    Action,
    Drain,
    End,
    MoveEnd,
    Pause,
    Rent,
    Situation,
    newest_of,
)
from comfypod.batch.documents import GIGABYTE
from comfypod.batch.store.records import BatchPod
from comfypod.batch.wording import in_dollars

WORTH_FACTOR = 2.0
"""A pod is replaced, though others have its files, if what is left of its share takes so many set-ups."""
SLACK = 0.05
"""A batch is behind if so much less of its work is done than uniform progress towards the deadline would have done."""
MOVED_SECONDS = 60.0
"""A dead man's switch is not moved for less."""


def decide(situation: Situation) -> list[Action]:
    """All that is to be done now, in this order."""
    if problem := _money_problem(situation):
        return [Pause(problem), *_drains(situation, "budget"), *_ends(situation), *_moved_ends(situation)]
    actions: list[Action] = [*_ends(situation)]
    if situation.is_stopping:
        actions += _drains(situation, "stopped")
    elif situation.state == "paused" and situation.paused_seconds >= situation.patience.pause:
        actions += _drains(situation, "paused")
    elif situation.state == "running":
        actions += _rents(situation)
    return [*actions, *_moved_ends(situation)]


def is_behind(situation: Situation) -> bool:
    """Whether less is done than uniform progress towards the deadline would have done.

    Source of the rule: "Can't Be Late", NSDI 2024 (uniform progress): who falls behind the line takes what cannot be
    taken away again.
    """
    started_at, deadline_at = situation.standing.started_at, situation.deadline_at
    if started_at is None or deadline_at is None:
        return False
    setup = max((pod.offer.setup_seconds for pod in situation.book.plan.pods), default=0.0)
    begun = started_at + setup
    if situation.now <= begun:
        return False
    due = min(1.0, (situation.now - begun) / max(1.0, deadline_at - begun))
    return situation.standing.done_share < due - SLACK


def _money_problem(situation: Situation) -> str | None:
    """Why no more money may be spent than for finishing what is begun."""
    budget = situation.budget_dollars
    if budget is None or situation.state != "running" or situation.is_stopping:
        return None
    kept_back = situation.hourly_dollars * situation.patience.drain / HOUR
    if situation.spent_dollars + kept_back < budget:
        return None
    return f"the budget of {in_dollars(budget)} is spent"


def _drains(situation: Situation, reason: str) -> Iterator[Drain]:
    for pod in situation.live:
        if pod.is_live and pod.drain_reason is None:
            yield Drain(pod.name, reason)


def _ends(situation: Situation) -> Iterator[End]:
    for pod in situation.live:
        if reason := _why_ended(situation, pod):
            yield End(pod.name, reason)


def _why_ended(situation: Situation, pod: BatchPod) -> str | None:
    """Why a pod is to be ended now; one that is draining is left alone as long as it lives, for its spool."""
    now, patience = situation.now, situation.patience
    if pod.state == "ending":
        return pod.end_reason or "it said goodbye"
    if now > pod.ends_at + patience.ending:
        return "past its time"
    if situation.state == "cancelled":
        asked = situation.standing.ended_at
        return "cancelled" if asked is None or now - asked > patience.cancelled or pod.hello_at is None else None
    if pod.state == "starting":
        is_useless = pod.drain_reason is not None or situation.state == "over"
        since = pod.rented_at if pod.rented_at is not None else pod.asked_at
        is_late = now - since > pod.offer.setup_seconds + patience.hello
        return "not needed any more" if is_useless else "no hello" if is_late else None
    return "silent" if now - (pod.pulsed_at or now) > patience.silence else None


def _rents(situation: Situation) -> Iterator[Rent]:
    """The plan's pods that are not there, if there is something for them and the money suffices."""
    standing, plan = situation.standing, situation.book.plan
    if standing.started_at is None or not standing.waiting:
        return
    newest = newest_of(situation.pods)
    busy = {number for number, pod in newest.items() if pod.state != "ended"}
    working = {number for number in busy if newest[number].is_live and newest[number].drain_reason is None}
    wanted = [pod.number for pod in plan.pods if pod.number not in busy and _is_wanted(situation, pod.number)]
    wanted += _for_stranded(situation, {*working, *wanted}, busy)
    left = math.inf if situation.budget_dollars is None else situation.budget_dollars - situation.spent_dollars
    left -= situation.hourly_dollars * situation.patience.drain / HOUR
    is_urgent = is_behind(situation)
    for number in wanted:
        pod = situation.book.pods[number]
        price = pod.bid_ceiling_dollars_per_hour or pod.bid_dollars_per_hour or pod.offer.dollars_per_hour
        price += pod.offer.disk_dollars_per_gigabyte_hour * pod.disk_bytes / GIGABYTE
        left -= price * (pod.offer.setup_seconds + situation.patience.drain) / HOUR
        if left < 0:
            return
        if number not in situation.blocked:
            yield Rent(number, is_urgent)


def _is_wanted(situation: Situation, number: int) -> bool:
    """Whether enough is left of a pod's own share."""
    work = situation.standing.work_left.get(number, 0.0)
    if work <= 0:
        return False
    if not any(pod.number == number and pod.rented_at is not None for pod in situation.pods):
        return True  # the plan says so, and it was never there
    offer = situation.book.pods[number].offer
    return work / offer.megapixel_steps_per_second > WORTH_FACTOR * offer.setup_seconds or is_behind(situation)


def _for_stranded(situation: Situation, there: set[int], busy: set[int]) -> list[int]:
    """Pods for groups of which something waits that no pod would take that is there, or is going to be."""
    book, present = situation.book, {pod.number: _files(situation, pod) for pod in situation.live}
    files = {number: present.get(number, frozenset(book.pods[number].downloads)) for number in there}
    found: list[int] = []
    for group in situation.standing.waiting:
        if any(not book.missing(group, keys) for keys in files.values()):
            continue
        owners = (pod.number for pod in book.plan.pods if not book.missing(group, frozenset(pod.downloads)))
        number = next((owner for owner in owners if owner not in busy), None)
        if number is not None:
            found.append(number)
            files[number] = frozenset(book.pods[number].downloads)
    return found


def _files(situation: Situation, pod: BatchPod) -> frozenset[str]:
    """What a pod has, or is going to have."""
    present = pod.pulse.present if pod.pulse is not None else ()
    return frozenset((*situation.book.pods[pod.number].downloads, *present))


def _moved_ends(situation: Situation) -> Iterator[MoveEnd]:
    """Dead man's switches: not before a pod could finish without us, and not after the money is spent."""
    hourly = situation.hourly_dollars
    spent_at = math.inf
    if situation.budget_dollars is not None and hourly > 0:
        spent_at = situation.now + max(0.0, situation.budget_dollars - situation.spent_dollars) / hourly * HOUR
    for pod in situation.live:
        if not pod.is_live:
            continue
        ends_at = min(max(pod.ends_at, situation.now + situation.patience.alone), spent_at)
        if ends_at < pod.ends_at - 1 or ends_at > pod.ends_at + MOVED_SECONDS:
            yield MoveEnd(pod.name, ends_at)


def first_end(situation: Situation, number: int) -> float:
    """The dead man's switch of a pod that is about to be rented."""
    pod = situation.book.pods[number]
    ends_at = situation.now + 1.5 * pod.seconds + situation.patience.alone
    if situation.budget_dollars is not None:
        hourly = situation.hourly_dollars + pod.offer.dollars_per_hour
        left = max(0.0, situation.budget_dollars - situation.spent_dollars)
        ends_at = min(ends_at, situation.now + left / hourly * HOUR) if hourly > 0 else ends_at
    return ends_at
