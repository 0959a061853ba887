"""What an endpoint tells about itself as a whole: /health, /metrics, and the overview of the emulator. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from comfypod.emulator.platform.job import Document, Job
from comfypod.emulator.platform.presence import Presence
from comfypod.emulator.platform.queue import JobQueue

READY_STATES = frozenset({"idle", "frozen"})
"""Those of a worker that could take a job: frozen ones are revived for it."""
_PROGRESS_FIELDS = ("value", "message", "stage")


@dataclass(frozen=True, slots=True)
class Demand:
    """What the scaler looks at: jobs that wait (low priority apart), how long the first of them has, jobs that run."""

    queued: int
    longest_wait_seconds: float
    in_progress: int


def demand_of(queue: JobQueue, running: Collection[Job], now: float) -> Demand:
    """How much there is to do. Low priority does not make an endpoint grow (docs.runpod.io, "Send API requests")."""
    waits = [now - job.queued for job in queue.normal()]
    return Demand(len(waits), max(waits, default=0.0), len(running))


def health(
    totals: Mapping[str, int],
    queue: JobQueue,
    running: Collection[Job],
    states: Mapping[str, str],
) -> Document:
    """The answer of /health, as in a live capture of August 2026, where ``ready`` was what ``idle`` was.

    A frozen worker is scaled down and not billed, which the platform calls idle (docs.runpod.io, "Workers"); one that
    is ending is nothing that a client could count on.
    """
    count = Counter(states.values())
    idle = sum(count[state] for state in READY_STATES)
    return {
        "jobs": {
            "completed": totals["completed"],
            "failed": totals["failed"],
            "inProgress": len(running),
            "inQueue": len(queue),
            "retried": totals["retried"],
        },
        "workers": {
            "idle": idle,
            "initializing": count["initializing"],
            "ready": idle,
            "running": count["running"],
            "throttled": count["throttled"],
            "unhealthy": count["unhealthy"],
        },
    }


def worker_states(presence: Presence, running: Collection[Job], fleet: Mapping[str, str]) -> dict[str, str]:
    """The state of every worker, by id.

    ``fleet`` has the states of those that the emulator started itself, and knows more of them than their signs of life
    tell; of all others these are all there is.
    """
    with_a_job = {worker_id for job in running for worker_id in (job.worker_id, job.second_worker_id)}
    heard = {worker_id: "running" if worker_id in with_a_job else "idle" for worker_id in presence}
    return {**heard, **dict.fromkeys(presence.unhealthy(), "unhealthy"), **fleet}


def overview(totals: Mapping[str, int], queue: JobQueue, running: Collection[Job], now: float) -> Document:
    """The queue and the counts of jobs, for whoever looks at the emulator."""
    demand = demand_of(queue, running, now)
    return {
        "queue": {
            "waiting": len(queue),
            "low_priority": queue.low_priority_count,
            "longest_wait_seconds": demand.longest_wait_seconds,
        },
        "jobs": {**totals, "inProgress": len(running), "inQueue": len(queue)},
    }


def glimpses(jobs: Iterable[Job], now: float, count: int) -> list[Document]:
    """The first ``count`` jobs in brief, without what they were given and what they made."""
    return [_glimpse(job, now) for job in islice(jobs, count)]


def _glimpse(job: Job, now: float) -> Document:
    status = job.status_document(now)
    document: Document = {
        "id": job.id,
        "status": job.state.value,
        "workerId": job.worker_id,
        "delayTime": status.get("delayTime"),
        "executionTime": status.get("executionTime"),
        "retries": job.retries,
        "age_seconds": max(0.0, now - job.submitted),
    }
    output = job.result.get("output")
    if isinstance(output, dict) and isinstance(output.get("value"), int | float):
        document["progress"] = {name: output.get(name) for name in _PROGRESS_FIELDS}
    return document
