"""One worker of a fleet: what is known of it from its start to its end."""

from __future__ import annotations

import asyncio

from comfypod.emulator.fleet.billing import WorkerBill
from comfypod.emulator.fleet.host import WorkerActivity
from comfypod.emulator.fleet.scaling import WorkerState, WorkerView
from comfypod.emulator.fleet.worker_process import WorkerProcess

_OBSERVED = frozenset({WorkerState.INITIALIZING, WorkerState.IDLE, WorkerState.RUNNING})


class Worker:
    """A worker's state, process and bill. Moments are seconds of the fleet's clock."""

    def __init__(self, worker_id: str, bill: WorkerBill, now: float) -> None:
        self.id = worker_id
        self.bill = bill
        self.started = now
        self.state = WorkerState.INITIALIZING
        self.since = now
        self.process: WorkerProcess | None = None
        self.job_ids: tuple[str, ...] = ()
        # Set to have it end. Whatever ends without it has died.
        self.order_to_end = asyncio.Event()
        # Whether it could ever have taken a job: one that ends before has failed to start.
        self.was_up = False
        self._is_heard = False
        self._is_fresh = True

    def enter(self, state: WorkerState, now: float) -> None:
        """It is in this state from now on, unless it is already."""
        if state is not self.state:
            self.state, self.since = state, now

    def observe(self, activity: WorkerActivity | None, now: float, start_limit_seconds: float) -> str | None:
        """Take note of what the endpoint knows of it; if that makes it unhealthy, why.

        ``activity`` is None for a worker that has not been heard of, or not for long.
        """
        if self.state not in _OBSERVED:
            return None
        self.job_ids = activity.job_ids if activity else ()
        self._is_fresh = self._is_fresh and not self.job_ids
        problem = self._problem(activity, now, start_limit_seconds)
        if problem is not None:
            self.enter(WorkerState.UNHEALTHY, now)
        elif activity is not None:
            self._is_heard = self.was_up = True
            self.bill.ready(now)
            self.enter(WorkerState.RUNNING if self.job_ids else WorkerState.IDLE, now)
        return problem

    def _problem(self, activity: WorkerActivity | None, now: float, start_limit_seconds: float) -> str | None:
        if activity is not None:
            return "one of its fitness checks failed" if activity.is_unhealthy else None
        if self._is_heard:
            return "it has fallen silent"
        if now - self.since >= start_limit_seconds:
            return f"it did not come up within {start_limit_seconds:g} s"
        return None

    def freeze(self, now: float) -> None:
        """Stop its processes where they are, and its bill."""
        if self.process is not None:
            self.process.freeze()
        self.enter(WorkerState.FROZEN, now)
        self.bill.stop(now)

    def thaw(self, now: float) -> None:
        """Let it go on; it initialises until it is heard of."""
        self._is_heard, self._is_fresh = False, True
        self.enter(WorkerState.INITIALIZING, now)
        self.bill.start(now)
        if self.process is not None:
            self.process.thaw()

    def view(self, now: float) -> WorkerView:
        """What the scaler sees of it."""
        return WorkerView(self.id, self.state, now - self.since, self._is_fresh)
