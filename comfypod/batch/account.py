"""The account of a batch: what was planned, and what has happened, as the store knows it at one moment. Pure.

What follows from it in dollars and seconds: `comfypod.batch.figures`. Units are those of `comfypod.batch.documents`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import Field

from comfypod.batch.documents import BatchState, Document, ItemState, Offer, Plan, PriceClass

MOST_SAMPLES: Final = 300
"""Of one pod, and of the batch's progress, that an account has: enough for a chart as wide as a page."""


class Sample(Document):
    """What a pod's pulse said at one moment; the numbers grow from its start on."""

    at: float
    busy_seconds: float = 0.0
    idle_seconds: float = 0.0
    downloaded_bytes: int = 0
    spool_items: int = 0


class Progress(Document):
    """How many items had ended at one moment."""

    at: float
    succeeded: int
    failed: int = 0


class Failure(Document):
    """Items that failed for one reason."""

    code: str
    message: str
    """Of one of them."""
    items: int


class PodAccount(Document):
    """One pod, from the moment it was rented."""

    name: str
    number: int
    """Of `PodPlan`; pods that took an ended one's place have the same one."""
    provider: str
    gpu: str
    price_class: PriceClass
    dollars_per_hour: float
    """Of the GPU, as it was rented: for an interruptible one, the bid."""
    disk_dollars_per_hour: float = 0.0
    rented_at: float
    hello_at: float | None = None
    ended_at: float | None = None
    """None: it is still paid for."""
    end_reason: str | None = None
    """``over``, ``outbid``, ``exited``, ``unfit: …`` once it has ended."""
    items: int = 0
    """Recorded first by it."""
    samples: tuple[Sample, ...] = ()
    """Oldest first, at most `MOST_SAMPLES`; the newest one is always there."""


class Speed(Document):
    """What a type of GPU has done of one kind of work in this batch, as measured."""

    gpu: str
    kind: str = "*"
    """`comfypod.batch.planning.learned.kind_of` what the items need."""
    items: int = Field(ge=0)
    work: float = Field(ge=0)
    """In megapixel-steps."""
    gpu_seconds: float = Field(ge=0)
    """Of which the model loads are a part."""
    load_seconds: float = Field(default=0.0, ge=0)


class Account(Document):
    """All that is known of a batch at one moment, `at`."""

    batch: str
    state: BatchState
    plan: Plan
    at: float
    started_at: float
    ended_at: float | None = None
    items: Mapping[ItemState, int]
    progress: tuple[Progress, ...] = ()
    """Oldest first, at most `MOST_SAMPLES`; the newest one is always there."""
    pods: tuple[PodAccount, ...] = ()
    """In the order in which they were rented."""
    failures: tuple[Failure, ...] = ()
    """The most frequent first, at most 50."""
    speeds: tuple[Speed, ...] = ()
    wasted_runs: int = 0
    """Runs whose result was not needed: the item had been recorded before, or it failed and was made once more."""
    wasted_gpu_seconds: float = 0.0
    files: int = 0
    file_bytes: int = 0
    offers: tuple[Offer, ...] = ()
    """What else could have been rented."""
