"""What the keeper of pods knows at one moment, and what it may decide. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from comfypod.batch.documents import GIGABYTE, BatchState
from comfypod.batch.store.books import Book
from comfypod.batch.store.records import BatchPod, Standing

HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long what is waited for; seconds.

    Args:
        hello: from rented until a pod says hello, beside its offer's set-up time.
        silence: without a pulse.
        ending: between the moment at which a pod was to end by itself, and that at which it is ended.
        cancelled: for pods to stop after the batch was cancelled.
        pause: a paused batch keeps its pods so long.
        drain: what pods need to finish what they are at, for which money is kept back.
        alone: a pod goes on so long without a coordinator.
    """

    hello: float = 600.0
    silence: float = 300.0
    ending: float = 60.0
    cancelled: float = 20.0
    pause: float = 600.0
    drain: float = 120.0
    alone: float = HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a decision follows from.

    Args:
        standing: of the batch's items.
        pods: all that there ever were.
        blocked: numbers of the plan for which nothing is rented now: it is being tried, or has just failed.
        paused_seconds: how long the batch has been paused.
        is_stopping: the operator wants the coordinator to end.
    """

    now: float
    book: Book
    standing: Standing
    pods: tuple[BatchPod, ...]
    budget_dollars: float | None = None
    deadline_at: float | None = None
    blocked: frozenset[int] = frozenset()
    paused_seconds: float = 0.0
    is_stopping: bool = False
    patience: Patience = Patience()

    @property
    def live(self) -> list[BatchPod]:
        """Pods that have not ended."""
        return [pod for pod in self.pods if pod.state != "ended"]

    @property
    def state(self) -> BatchState:
        """The batch's."""
        return self.standing.state

    @property
    def spent_dollars(self) -> float:
        """For all pods up to now."""
        return spent_dollars(self.pods, self.now)

    @property
    def hourly_dollars(self) -> float:
        """What all pods cost that have not ended, also those whose rental is under way."""
        return sum(hourly_dollars(pod) for pod in self.live)


@dataclass(frozen=True, slots=True)
class Rent:
    """Rent a pod of the plan; ``is_urgent``: the batch is behind its deadline, take nothing that may be outbid."""

    number: int
    is_urgent: bool = False


@dataclass(frozen=True, slots=True)
class Drain:
    """Give a pod nothing more; it ends when it has finished."""

    pod: str
    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """End a pod now."""

    pod: str
    reason: str


@dataclass(frozen=True, slots=True)
class MoveEnd:
    """Move a pod's dead man's switch."""

    pod: str
    ends_at: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Pause the batch; ``note`` says why."""

    note: str


Action = Rent | Drain | End | MoveEnd | Pause


def hourly_dollars(pod: BatchPod) -> float:
    """What a pod costs, with its disk; as in `comfypod.batch.figures`."""
    return pod.dollars_per_hour + pod.offer.disk_dollars_per_gigabyte_hour * pod.disk_bytes / GIGABYTE


def spent_dollars(pods: Iterable[BatchPod], now: float) -> float:
    """For all pods up to a moment; one that has not answered yet counts from when it was asked for."""
    total = 0.0
    for pod in pods:
        begun = pod.rented_at if pod.rented_at is not None or pod.state == "ended" else pod.asked_at
        if begun is not None:
            ended = now if pod.ended_at is None else pod.ended_at
            total += hourly_dollars(pod) * max(0.0, ended - begun) / HOUR
    return total


def newest_of(pods: Iterable[BatchPod]) -> Mapping[int, BatchPod]:
    """The last pod of each number."""
    newest: dict[int, BatchPod] = {}
    for pod in pods:
        if pod.number not in newest or newest[pod.number].generation < pod.generation:
            newest[pod.number] = pod
    return newest
