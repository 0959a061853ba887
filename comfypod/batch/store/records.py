"""What the store tells of a batch and its pods. Pure; nothing here changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfypod.batch.documents import BatchState, Condition, Offer, Plan, PodState, Pulse


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """A batch that is to be made.

    Args:
        plan: its identifier is the batch's.
        label: how a person calls it: the manifest's file name.
        provider: who its pods are rented from.
        offers: what the plan could choose from.
        results: where results go, as `Welcome.results`; without ``url`` they are the coordinator's own place.
    """

    plan: Plan
    label: str
    provider: str
    offers: tuple[Offer, ...]
    results: Mapping[str, Any]
    lease_seconds: float = 120.0
    session_items: int = 20
    deadline_at: float | None = None
    budget_dollars: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as it stands, without its plan and offers.

    Args:
        number: what the store's methods call it.
        note: why it is paused.
        started_at: when all of its items were there; before that nothing is leased.
        ended_at: when its last item ended.
        owner: the process that coordinates it; it was alive at ``beat_at``.
        address: where that listens: ``host``, ``port``, ``url``.
    """

    number: int
    identifier: str
    label: str
    state: BatchState
    note: str | None
    provider: str
    results: Mapping[str, Any]
    lease_seconds: float
    session_items: int
    deadline_at: float | None
    budget_dollars: float | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    owner: str | None
    beat_at: float | None
    address: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPod:
    """A pod of a batch, from the moment in which it was decided to rent it.

    Args:
        identifier: the provider's; None: it has not answered yet, or there is no such pod.
        rented_at: since when it is paid for.
        ends_at: its dead man's switch.
        end_reason: a clause; set while it is ending, too.
        drain_reason: why it gets nothing more.
        spare_since: from then on there was nothing that it could take.
        items: recorded first by it.
    """

    name: str
    number: int
    generation: int
    provider: str
    identifier: str | None
    state: PodState
    offer: Offer
    bid_dollars_per_hour: float | None
    dollars_per_hour: float
    disk_bytes: int
    asked_at: float
    rented_at: float | None
    hello_at: float | None
    pulsed_at: float | None
    ends_at: float
    ended_at: float | None
    end_reason: str | None
    drain_reason: str | None
    spare_since: float | None
    condition: Condition | None
    pulse: Pulse | None
    items: int
    work: float
    gpu_seconds: float

    @property
    def is_live(self) -> bool:
        """Whether it takes items, or will."""
        return self.state in {"starting", "running"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEvent:
    """Something that happened to a batch or a pod of it."""

    at: float
    pod: str | None
    kind: str
    cause: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCounts:
    """How many items of a group are where."""

    number: int
    assets: tuple[str, ...]
    work: float
    waiting: int
    leased: int
    succeeded: int
    failed: int
    cancelled: int

    @property
    def items(self) -> int:
        """All of them."""
        return self.waiting + self.leased + self.succeeded + self.failed + self.cancelled


@dataclass(frozen=True, slots=True)
class Told:
    """What became of records; identifiers."""

    accepted: tuple[str, ...] = ()
    already: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a batch is, as far as its pods depend on it.

    Args:
        started_at: all of its items are there since then.
        ended_at: when it was over, or was cancelled.
        done_share: of its work, 0 to 1.
        waiting: groups of which something waits, in the plan's order; the first `MOST_WAITING`.
        leased: items.
        work_left: waiting megapixel-steps of each pod's own share, by the pod's number.
    """

    state: BatchState
    started_at: float | None
    ended_at: float | None
    done_share: float
    waiting: tuple[int, ...]
    leased: int
    work_left: Mapping[int, float]
