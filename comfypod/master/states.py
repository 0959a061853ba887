"""The states of a request, and which may follow which. Pure."""

from __future__ import annotations

from typing import Final, Literal

State = Literal["queued", "submitting", "submitted", "running", "waiting", "succeeded", "failed", "cancelled"]

QUEUED: Final = "queued"  # with us: it waits for its turn
SUBMITTING: Final = "submitting"  # an attempt is being posted; its job may or may not exist
SUBMITTED: Final = "submitted"  # a job waits in RunPod's queue
RUNNING: Final = "running"  # a worker works on it
WAITING: Final = "waiting"  # an attempt was lost, and another follows after a pause
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"

ENDED: Final[tuple[State, ...]] = (SUCCEEDED, FAILED, CANCELLED)
UNDER_WAY: Final[tuple[State, ...]] = (SUBMITTING, SUBMITTED, RUNNING, WAITING)
ACTIVE: Final[tuple[State, ...]] = (QUEUED, *UNDER_WAY)

# Every ACTIVE state may end in each of ENDED: at any time a result may be found, or a request refused or cancelled.
_FOLLOWS: Final[dict[State, tuple[State, ...]]] = {
    QUEUED: (SUBMITTING,),
    SUBMITTING: (SUBMITTING, SUBMITTED, RUNNING, WAITING),  # itself: the master died, and posts anew
    SUBMITTED: (RUNNING, WAITING, SUBMITTING),
    RUNNING: (SUBMITTED, WAITING, SUBMITTING),  # SUBMITTED: its worker died, and RunPod queued the job again
    WAITING: (SUBMITTING,),
    SUCCEEDED: (),
    FAILED: (QUEUED,),  # replay
    CANCELLED: (QUEUED,),  # replay
}

DIAGRAM: Final = """\
stateDiagram-v2
    [*] --> queued
    queued --> submitting
    submitting --> submitted
    submitting --> running
    submitted --> running
    running --> submitted : RunPod queued it again
    submitting --> waiting : lost or refused for now
    submitted --> waiting
    running --> waiting
    submitted --> submitting : lost
    running --> submitting : lost
    waiting --> submitting
    state "any of these" as active
    active --> succeeded
    active --> failed
    active --> cancelled
    failed --> queued : replay
    cancelled --> queued : replay
"""


def followers(state: State) -> tuple[State, ...]:
    """What may come after a state."""
    return (*_FOLLOWS[state], *ENDED) if state in ACTIVE else _FOLLOWS[state]


def predecessors(state: State) -> tuple[State, ...]:
    """From which states one may be reached."""
    return tuple(before for before in _FOLLOWS if state in followers(before))
