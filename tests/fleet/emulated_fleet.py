"""An endpoint in steps of a fifth of a second, with the scaler and the bills of the local RunPod.

Written apart from the simulation that it is compared with: no events, no heap, and none of its code.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from comfypod.emulator.fleet.billing import Ledger, WorkerBill
from comfypod.emulator.fleet.options import FleetOptions
from comfypod.emulator.fleet.scaling import WorkerState, WorkerView, decide
from comfypod.emulator.platform.gauges import Demand

STEP_SECONDS = 0.2


@dataclass
class DoneRequest:
    """As a log would have it."""

    arrived_at: float
    delay_seconds: float
    execution_seconds: float

    @property
    def latency_seconds(self) -> float:
        return self.delay_seconds + self.execution_seconds


@dataclass
class _Worker:
    bill: WorkerBill
    state: WorkerState
    since: float
    until: float = 0.0
    is_fresh: bool = True


class EmulatedFleet:
    """Call `run` once; then look at ``done`` and ``dollars``."""

    def __init__(self, options: FleetOptions, *, cold_start: Sequence[float], first_run: float, seed: int) -> None:
        self._options = options
        self._cold_start = cold_start
        self._first_run = first_run
        self._draw = random.Random(seed)  # noqa: S311 (a simulation)
        self._ledger = Ledger(options.price_per_second)
        self._workers: dict[str, _Worker] = {}
        self._started = 0
        self.done: list[DoneRequest] = []
        self.dollars = 0.0

    def run(self, arrivals: Sequence[float], seconds: Sequence[float]) -> None:
        waiting: deque[tuple[float, float]] = deque()
        coming = deque(zip(arrivals, seconds, strict=True))
        step = 0
        while coming or waiting or self._workers:
            if not waiting and not self._workers:  # nothing to look at until the next request comes
                step = max(step, int(coming[0][0] / STEP_SECONDS))
            now = step * STEP_SECONDS
            while coming and coming[0][0] <= now:
                waiting.append(coming.popleft())
            self._look(now)
            self._hand_out(waiting, now)
            self._scale(waiting, now)
            step += 1
        self.dollars = self._ledger.spend(step * STEP_SECONDS).dollars

    def _look(self, now: float) -> None:
        for worker in self._workers.values():
            if worker.state in {WorkerState.INITIALIZING, WorkerState.RUNNING} and now >= worker.until:
                worker.state, worker.since = WorkerState.IDLE, now

    def _hand_out(self, waiting: deque[tuple[float, float]], now: float) -> None:
        idle = [worker for worker in self._workers.values() if worker.state is WorkerState.IDLE]
        for worker in sorted(idle, key=lambda each: each.since):
            if not waiting:
                return
            arrived, seconds = waiting.popleft()
            execution = seconds + (self._first_run if worker.is_fresh else 0.0)
            worker.state, worker.since, worker.until, worker.is_fresh = WorkerState.RUNNING, now, now + execution, False
            self.done.append(DoneRequest(arrived, now - arrived, execution))

    def _scale(self, waiting: deque[tuple[float, float]], now: float) -> None:
        views = [WorkerView(name, each.state, now - each.since, each.is_fresh) for name, each in self._workers.items()]
        running = sum(each.state is WorkerState.RUNNING for each in self._workers.values())
        demand = Demand(len(waiting), now - waiting[0][0] if waiting else 0.0, running)
        decision = decide(demand, views, self._options)
        for name in decision.stop:
            self._ledger.close(name, now)
            del self._workers[name]
        for _ in range(decision.start):
            name = f"w{self._started}"
            self._started += 1
            until = now + self._draw.choice(self._cold_start)
            self._workers[name] = _Worker(self._ledger.open(name, now), WorkerState.INITIALIZING, now, until)
