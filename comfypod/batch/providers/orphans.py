"""Pods that nobody needs any more, or nobody watches: which, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from comfypod.batch.documents import BatchState, Pod
from comfypod.batch.providers.names import PodName

SILENT_SECONDS: Final = 120.0
"""So long a coordinator may be away, as when it is started anew, before its pods count as unwatched."""
LATE_SECONDS: Final = 60.0
"""So long after its end a pod may still be at it: its own clock, its last words."""


class Reason(StrEnum):
    """Why a pod is an orphan; as it is shown."""

    UNKNOWN_BATCH = "its batch is not in this database"
    UNKNOWN_POD = "its batch knows no such pod"
    BATCH_OVER = "its batch is over"
    BATCH_CANCELLED = "its batch was cancelled"
    PAST_END = "its time is over"
    GIVEN_UP = "its batch has given it up"
    UNWATCHED = "nobody coordinates its batch"
    NOT_RUNNING = "it does not run any more, and is still listed"


UNSURE: Final = frozenset({Reason.UNKNOWN_BATCH})
"""It may well be somebody's: of another database, with the same account."""


@dataclass(frozen=True, slots=True)
class KnownPod:
    """What a database says of a pod."""

    ends_at: float
    """Seconds since 1970."""
    has_ended: bool = False


@dataclass(frozen=True, slots=True)
class KnownBatch:
    """What a database says of a batch."""

    state: BatchState
    watched_at: float | None
    """When a coordinator last said that it coordinates this batch; None: none does."""
    pods: Mapping[str, KnownPod] = field(default_factory=dict)
    """By name."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A pod that is to be ended."""

    pod: Pod
    reason: Reason

    @property
    def is_sure(self) -> bool:
        """Whether nobody can need it."""
        return self.reason not in UNSURE


def find_orphans(
    pods: Iterable[Pod], batches: Mapping[str, KnownBatch], now: float, *, silent_seconds: float = SILENT_SECONDS
) -> list[Orphan]:
    """Those of the pods that are; ``batches`` by identifier, as pods' names have it. ``now``: seconds since 1970."""
    found = []
    for pod in pods:
        name = PodName.parse(pod.name)
        batch = batches.get(name.batch) if name is not None else None
        reason = _reason(pod, batch, now, silent_seconds)
        if reason is not None:
            found.append(Orphan(pod, reason))
    return found


def _reason(pod: Pod, batch: KnownBatch | None, now: float, silent_seconds: float) -> Reason | None:
    """The first that fits."""
    if batch is None:
        return Reason.UNKNOWN_BATCH
    known = batch.pods.get(pod.name)
    is_watched = batch.watched_at is not None and now <= batch.watched_at + silent_seconds
    reasons = {
        Reason.NOT_RUNNING: pod.state == "ended",
        Reason.BATCH_OVER: batch.state == "over",
        Reason.BATCH_CANCELLED: batch.state == "cancelled",
        Reason.UNKNOWN_POD: known is None,
        Reason.GIVEN_UP: known is not None and known.has_ended,
        Reason.PAST_END: known is not None and now > known.ends_at + LATE_SECONDS,
        Reason.UNWATCHED: not is_watched,
    }
    return next((reason for reason, is_so in reasons.items() if is_so), None)
