"""Which workers to start and which to stop. Pure: no clock, no processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from comfypod.emulator.fleet.options import FleetOptions, Scaler
from comfypod.emulator.platform.jobs import Demand


class WorkerState(StrEnum):
    """How a worker stands (docs.runpod.io, "Workers"); ``ending`` and ``frozen`` are ours."""

    INITIALIZING = "initializing"  # started, or revived, and not heard of since
    IDLE = "idle"  # could take a job
    RUNNING = "running"  # has a job
    THROTTLED = "throttled"  # no machine is free for it; never so here
    UNHEALTHY = "unhealthy"  # failed its checks, did not come up in time, fell silent or crashed
    FROZEN = "frozen"  # FlashBoot: scaled down, its processes stopped in their tracks
    ENDING = "ending"  # was told to end


_ACTIVE = frozenset({WorkerState.INITIALIZING, WorkerState.IDLE, WorkerState.RUNNING})


@dataclass(frozen=True, slots=True)
class WorkerView:
    """What the scaler knows of a worker: its state, and for how many seconds it has been in it."""

    id: str
    state: WorkerState
    seconds: float = 0.0
    is_fresh: bool = False
    """Whether it has had no job since its start or revival."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How many workers there should be, how many to start (or to revive), and which to stop."""

    wanted: int
    start: int = 0
    stop: tuple[str, ...] = ()


def decide(demand: Demand, workers: Sequence[WorkerView], options: FleetOptions) -> Decision:
    """Compare what there is to do with the workers there are.

    Documented (docs.runpod.io, "Endpoint configurations"): there are never fewer than ``min_workers`` and never more
    than ``max_workers``; a worker without a job is stopped after the idle timeout; QUEUE_DELAY adds a worker when a
    request waits longer than the value; REQUEST_COUNT wants ``ceil((waiting + running) / value)``.

    Our reading, where that is silent: the first job for no worker at all starts one at once; QUEUE_DELAY adds one
    worker at a time, and none before that one has had its first job, for it may take the one that waits (one that takes
    none is not waited for longer than the value); the longest idle worker goes first, and none goes while a job waits;
    a worker that is ending still counts against ``max_workers``, one that is frozen does not. A worker with a job is
    never stopped.
    """
    active = [worker for worker in workers if worker.state in _ACTIVE]
    if options.scaler is Scaler.REQUEST_COUNT:
        needed = math.ceil((demand.queued + demand.in_progress) / options.scaler_value)
    else:
        needed = _needed_by_delay(demand, active, options)
    wanted = max(options.min_workers, min(needed, options.max_workers))
    present = sum(worker.state is not WorkerState.FROZEN for worker in workers)
    start = max(0, min(wanted - len(active), options.max_workers - present))
    surplus = 0 if demand.queued else max(0, len(active) - wanted)
    return Decision(wanted, start, _expendable(active, options.idle_seconds)[:surplus])


def _needed_by_delay(demand: Demand, active: Sequence[WorkerView], options: FleetOptions) -> int:
    if not demand.queued:
        return sum(not _is_idle_for(worker, options.idle_seconds) for worker in active)
    about_to_take = any(
        worker.state is WorkerState.INITIALIZING
        or (worker.state is WorkerState.IDLE and worker.is_fresh and worker.seconds <= options.scaler_value)
        for worker in active
    )
    is_late = demand.longest_wait_seconds > options.scaler_value
    return len(active) + (not active or (is_late and not about_to_take))


def _expendable(active: Sequence[WorkerView], idle_seconds: float) -> tuple[str, ...]:
    """The workers that have been idle for long enough, the longest first."""
    idle = [worker for worker in active if _is_idle_for(worker, idle_seconds)]
    return tuple(worker.id for worker in sorted(idle, key=lambda worker: -worker.seconds))


def _is_idle_for(worker: WorkerView, seconds: float) -> bool:
    return worker.state is WorkerState.IDLE and worker.seconds >= seconds
