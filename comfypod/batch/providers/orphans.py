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
    if batch is None:
        return Reason.UNKNOWN_BATCH
    if pod.state == "ended":
        return Reason.NOT_RUNNING
    if batch.state in {"over", "cancelled"}:
        return Reason.BATCH_OVER if batch.state == "over" else Reason.BATCH_CANCELLED
    known = batch.pods.get(pod.name)
    if known is None:
        return Reason.UNKNOWN_POD
    if known.has_ended:
        return Reason.GIVEN_UP
    if now > known.ends_at + LATE_SECONDS:
        return Reason.PAST_END
    is_watched = batch.watched_at is not None and now <= batch.watched_at + silent_seconds
    return None if is_watched else Reason.UNWATCHED
