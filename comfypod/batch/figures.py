"""What follows from the account of a batch, in dollars and seconds: while it runs, and after it. Pure."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from comfypod.batch.account import Account, PodAccount, Sample
from comfypod.batch.documents import GIGABYTE, Document, Offer

Purpose = Literal["setup", "download", "generate", "idle", "other"]
"""What a pod's seconds are paid for: until it said hello; its first files; the GPU works; it waits though there is
something left to make; the rest: the last uploads, and the wait for other pods' last items."""

PURPOSES: Final[tuple[Purpose, ...]] = ("setup", "download", "generate", "idle", "other")
_HOUR: Final = 3600.0


class Span(NamedTuple):
    """Seconds of a pod that were paid for one purpose, mostly."""

    begin: float
    end: float
    purpose: Purpose


class Alternative(Document):
    """What the same items would have cost on one type of GPU, estimated from what was measured on others."""

    offer: Offer
    dollars: float
    dollars_per_item: float
    hours: float
    """Of all its pods together."""


class Figures(Document):
    """What follows from an account."""

    dollars: float
    """Spent up to now."""
    dollars_by_purpose: Mapping[Purpose, float]
    seconds_by_purpose: Mapping[Purpose, float]
    """Of all pods together."""
    dollars_per_item: float | None
    """None: nothing has succeeded yet; so with all that is per item."""
    planned_dollars_per_item: float
    paid_seconds: float
    elapsed_seconds: float
    idle_share: float
    setup_share: float
    wasted_share: float
    """Of the GPU's seconds."""
    items_per_hour: float | None
    finish_at: float | None
    """When the last item ends if it goes on like this, or when it ended; None: nobody can tell yet."""
    planned_finish_at: float
    finish_after_plan_seconds: float | None
    """Negative: earlier than planned."""
    dollars_at_finish: float | None
    """At the rate at which it is spent now."""
    alternatives: tuple[Alternative, ...]
    """The cheapest first."""

    def share(self, purpose: Purpose) -> float:
        """Of the seconds that were paid; 0 if none were."""
        return self.seconds_by_purpose[purpose] / self.paid_seconds if self.paid_seconds else 0.0


def figures(account: Account) -> Figures:
    """What an account means."""
    seconds: dict[Purpose, float] = dict.fromkeys(PURPOSES, 0.0)
    dollars: dict[Purpose, float] = dict.fromkeys(PURPOSES, 0.0)
    for pod in account.pods:
        for purpose, value in pod_seconds(pod, account.at).items():
            seconds[purpose] += value
            dollars[purpose] += value / _HOUR * hourly_dollars(pod)
    paid, spent = sum(seconds.values()), sum(dollars.values())
    succeeded = account.items.get("succeeded", 0)
    gpu_seconds = sum(speed.gpu_seconds for speed in account.speeds)
    finish = _finish(account)
    rate = sum(hourly_dollars(pod) for pod in account.pods if pod.ended_at is None)
    elapsed = (account.ended_at or account.at) - account.started_at
    planned_finish = account.started_at + account.plan.seconds
    return Figures(
        dollars=spent,
        dollars_by_purpose=dollars,
        seconds_by_purpose=seconds,
        dollars_per_item=spent / succeeded if succeeded else None,
        planned_dollars_per_item=account.plan.dollars / max(1, account.plan.items),
        paid_seconds=paid,
        elapsed_seconds=elapsed,
        idle_share=seconds["idle"] / paid if paid else 0.0,
        setup_share=(seconds["setup"] + seconds["download"]) / paid if paid else 0.0,
        wasted_share=_share(account.wasted_gpu_seconds, gpu_seconds + account.wasted_gpu_seconds),
        items_per_hour=succeeded / elapsed * _HOUR if succeeded and elapsed > 0 else None,
        finish_at=finish,
        planned_finish_at=planned_finish,
        finish_after_plan_seconds=None if finish is None else finish - planned_finish,
        dollars_at_finish=None if finish is None else spent + max(0.0, finish - account.at) / _HOUR * rate,
        alternatives=tuple(_alternatives(account)),
    )


def hourly_dollars(pod: PodAccount) -> float:
    """What a pod costs: GPU and disk."""
    return pod.dollars_per_hour + pod.disk_dollars_per_hour


def pod_dollars(pod: PodAccount, now: float) -> float:
    """What a pod has cost."""
    return hourly_dollars(pod) * max(0.0, (pod.ended_at or now) - pod.rented_at) / _HOUR


def pod_seconds(pod: PodAccount, now: float) -> Mapping[Purpose, float]:
    """What a pod's paid seconds went into; together they are all of them."""
    end = max(pod.rented_at, pod.ended_at or now)
    seconds: dict[Purpose, float] = dict.fromkeys(PURPOSES, 0.0)
    hello = min(end, end if pod.hello_at is None else max(pod.rented_at, pod.hello_at))
    seconds["setup"] = hello - pod.rented_at
    for before, after in _steps(pod, hello, end):
        for purpose, value in _split(before, after).items():
            seconds[purpose] += value
    return seconds


def pod_spans(pod: PodAccount, now: float) -> Sequence[Span]:
    """A pod's time in order, each span under the purpose that took most of it; neighbours of one purpose are one."""
    end = max(pod.rented_at, pod.ended_at or now)
    hello = min(end, end if pod.hello_at is None else max(pod.rented_at, pod.hello_at))
    spans = [Span(pod.rented_at, hello, "setup")]
    for before, after in _steps(pod, hello, end):
        split = _split(before, after)
        purpose = max(split, key=lambda name: split[name])
        if spans[-1].purpose == purpose:
            spans[-1] = spans[-1]._replace(end=after.at)
        else:
            spans.append(Span(before.at, after.at, purpose))
    return [span for span in spans if span.end > span.begin]


def _steps(pod: PodAccount, hello: float, end: float) -> Sequence[tuple[Sample, Sample]]:
    """A pod's samples between hello and end, each with the next; nothing is known after the last one."""
    if hello >= end:
        return ()
    inside = [sample for sample in pod.samples if hello < sample.at < end]
    last = inside[-1] if inside else Sample(at=hello)
    marks = [Sample(at=hello), *inside, last.model_copy(update={"at": end})]
    return list(itertools.pairwise(marks))


def _split(before: Sample, after: Sample) -> dict[Purpose, float]:
    """What the seconds between two samples went into. A runner that began anew on its pod counts from 0 again."""
    length = after.at - before.at
    busy = min(length, _grown(before.busy_seconds, after.busy_seconds))
    idle = min(length - busy, _grown(before.idle_seconds, after.idle_seconds))
    rest = length - busy - idle
    if after.busy_seconds == 0:  # nothing has been made yet: it fetches what the first item needs
        return {"generate": 0.0, "download": length, "idle": 0.0, "other": 0.0}
    if before.busy_seconds == 0:
        return {"generate": busy, "download": length - busy, "idle": 0.0, "other": 0.0}
    return {"generate": busy, "download": 0.0, "idle": idle, "other": rest}


def _grown(before: float, after: float) -> float:
    return after - before if after >= before else after


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _finish(account: Account) -> float | None:
    """When the last item ends, from the rate of the latter half of the time since the first one ended."""
    if account.ended_at is not None:
        return account.ended_at
    left = account.items.get("waiting", 0) + account.items.get("leased", 0)
    if not left:
        return account.at
    ended = [(item.at, item.succeeded + item.failed) for item in account.progress]
    made = [point for point in ended if point[1]]
    if not made:
        return None
    middle = (made[0][0] + account.at) / 2
    begin = max((point for point in made if point[0] <= middle), default=made[0])
    gained, lasted = made[-1][1] - begin[1], account.at - begin[0]
    return account.at + left * lasted / gained if gained and lasted > 0 else None


def _alternatives(account: Account) -> Sequence[Alternative]:
    """Every offer's price for what was made: its own set-up, link and speed; as many pods as there were; our disk."""
    succeeded = account.items.get("succeeded", 0)
    work = sum(speed.work for speed in account.speeds)
    if not succeeded or not work or not account.pods:
        return ()
    speeds = _speeds(account)
    disk = max((pod.disk_bytes for pod in account.plan.pods), default=0)
    fetched = sum(max((sample.downloaded_bytes for sample in pod.samples), default=0) for pod in account.pods)
    loads = sum(speed.load_seconds for speed in account.speeds)
    pods = len({pod.number for pod in account.pods})
    found = []
    for offer in account.offers:
        working = work / speeds(offer)
        working *= 1 + offer.interruptions_per_hour * offer.setup_seconds / _HOUR
        first = min(fetched / len(account.pods) / offer.download_bytes_per_second, working / pods)
        hours = (pods * (offer.setup_seconds + first) + loads + working) / _HOUR
        dollars = hours * (offer.dollars_per_hour + offer.disk_dollars_per_gigabyte_hour * disk / GIGABYTE)
        found.append(Alternative(offer=offer, dollars=dollars, dollars_per_item=dollars / succeeded, hours=hours))
    return sorted(found, key=lambda item: item.dollars)


def _speeds(account: Account) -> Callable[[Offer], float]:
    """How fast an offer is on these items: as measured here; else as promised, as far as promises were kept here."""
    work: dict[str, float] = defaultdict(float)
    seconds: dict[str, float] = defaultdict(float)
    for speed in account.speeds:
        work[speed.gpu] += speed.work
        seconds[speed.gpu] += max(0.0, speed.gpu_seconds - speed.load_seconds)
    measured = {gpu: work[gpu] / seconds[gpu] for gpu in work if work[gpu] and seconds[gpu]}
    promised = {pod.offer.gpu: pod.offer.megapixel_steps_per_second for pod in account.plan.pods}
    kept = [measured[gpu] / promised[gpu] for gpu in measured if gpu in promised]
    factor = sum(kept) / len(kept) if kept else 1.0
    return lambda offer: measured.get(offer.gpu, offer.megapixel_steps_per_second * factor)
