"""One endpoint through one trace, event by event (simpy). Pure."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from typing import Any

import simpy

from comfypod.fleet.outcome import Outcome, percentile
from comfypod.fleet.scaling import Load, wanted_workers
from comfypod.fleet.settings import Conditions, EndpointSettings, Scaler
from comfypod.fleet.traffic import Trace

_ROUNDING = 1e-6
"""Moments that should be the same differ by less: they are sums of floats."""
_SOON_SECONDS = 600.0


def simulate(trace: Trace, settings: EndpointSettings, conditions: Conditions, *, seed: int = 0) -> Outcome:
    """Let an endpoint do all requests of a trace. The same seed draws the same starts, whatever the settings."""
    return _Endpoint(trace, settings, conditions, seed).run()


class _Worker:
    """From one start to its stop."""

    __slots__ = ("billed_from", "has_run", "held", "idle_since", "is_cold")

    def __init__(self, billed_from: float, *, is_cold: bool) -> None:
        self.billed_from = billed_from
        self.is_cold = is_cold
        self.has_run = False
        self.held: deque[int] = deque()
        self.idle_since = 0.0


class _Bill:
    """What is added up."""

    def __init__(self) -> None:
        self.seconds = 0
        self.busy_seconds = 0.0
        self.starts = 0
        self.cold_requests = 0
        self.most_workers = 0

    def pay(self, seconds: float) -> None:
        """One worker, from its start to its stop, rounded up (docs.runpod.io, "Pricing")."""
        self.seconds += max(0, math.ceil(round(seconds, 6)))


class _Endpoint:
    """Requests are numbers, in the order of their arrival; those from ``_head`` up to ``_tail`` are in the queue."""

    def __init__(self, trace: Trace, settings: EndpointSettings, conditions: Conditions, seed: int) -> None:
        self._trace = trace
        self._settings = settings
        self._conditions = conditions
        self._draw = random.Random(seed)  # noqa: S311 (a simulation)
        self._environment = simpy.Environment()
        self._head = self._tail = 0
        self._in_progress = 0
        self._active: set[_Worker] = set()
        self._starting = 0
        self._idle: deque[_Worker] = deque()  # the longest first: its poll has waited longest, and it is stopped first
        self._with_room: dict[_Worker, None] = {}  # they run, and would take another one
        self._late_alarm = self._idle_alarm = -1.0
        self._latencies: list[float] = []
        self._last_end = 0.0
        self._bill = _Bill()

    def run(self) -> Outcome:
        """Until every request has ended, and every worker that may stop has stopped."""
        for _ in range(self._settings.active_workers):  # they were up before the first request
            worker = _Worker(0.0, is_cold=False)
            self._active.add(worker)
            self._idle.append(worker)
        if len(self._trace):
            self._after(self._trace.arrivals[0], self._arrived)
        self._environment.run()
        for worker in self._active:
            self._bill.pay(max(self._last_end, self._trace.seconds) - worker.billed_from)
        return self._outcome()

    # Events

    def _after(self, seconds: float, call: Callable[[Any], None], worker: _Worker | None = None) -> None:
        event = self._environment.timeout(max(0.0, seconds), worker)
        event.callbacks.append(call)

    def _arrived(self, _: Any) -> None:  # noqa: ANN401 (simpy's event)
        self._tail += 1
        if self._tail < len(self._trace):
            self._after(self._trace.arrivals[self._tail] - self._environment.now, self._arrived)
        self._go_on()

    def _is_up(self, event: Any) -> None:  # noqa: ANN401 (simpy's event)
        self._starting -= 1
        self._rest(event.value)
        self._go_on()

    def _ended(self, event: Any) -> None:  # noqa: ANN401 (simpy's event)
        worker: _Worker = event.value
        self._last_end = self._environment.now
        self._latencies.append(self._last_end - self._trace.arrivals[worker.held.popleft()])
        self._in_progress -= 1
        if worker.held:
            self._with_room[worker] = None
            self._begin(worker)
        elif self._head < self._tail and self._settings.concurrency == 1:
            self._take(worker)
            self._begin(worker, self._conditions.pause_seconds)
        else:
            self._with_room.pop(worker, None)
            self._rest(worker)
        self._go_on()

    def _alarm(self, _: Any) -> None:  # noqa: ANN401 (simpy's event)
        self._go_on()

    def _go_on(self) -> None:
        """After whatever happened."""
        while self._head < self._tail:
            if self._idle:
                worker = self._idle.popleft()
                self._take(worker)
                self._begin(worker)
            elif self._with_room:
                self._take(next(iter(self._with_room)))
            else:
                break
        self._scale()

    # Requests

    def _take(self, worker: _Worker) -> None:
        worker.held.append(self._head)
        self._head += 1
        self._in_progress += 1
        if len(worker.held) < self._settings.concurrency:
            self._with_room[worker] = None
        else:
            self._with_room.pop(worker, None)

    def _begin(self, worker: _Worker, pause_seconds: float = 0.0) -> None:
        seconds = self._trace.execution_seconds[worker.held[0]]
        self._bill.busy_seconds += seconds
        if worker.is_cold and not worker.has_run:
            seconds += self._conditions.first_run_seconds
            self._bill.cold_requests += 1
        worker.has_run = True
        self._after(pause_seconds + seconds, self._ended, worker)

    def _rest(self, worker: _Worker) -> None:
        worker.idle_since = self._environment.now
        self._idle.append(worker)

    # Workers

    def _scale(self) -> None:
        queued = self._tail - self._head
        late, expired = self._late(), self._expired()
        load = Load(queued, self._in_progress, late, len(self._active), self._starting, expired)
        wanted = wanted_workers(load, self._settings, self._conditions.scale_up)
        for _ in range(wanted - load.active):
            self._start()
        if not queued:
            for _ in range(min(expired, load.active - wanted)):
                self._stop(self._idle.popleft())
                expired -= 1
        self._set_alarms(late, expired)

    def _late(self) -> int:
        if self._settings.scaler is not Scaler.QUEUE_DELAY or self._head == self._tail:
            return 0
        since = self._environment.now - self._settings.scaler_value + _ROUNDING
        return bisect_left(self._trace.arrivals, since, self._head, self._tail) - self._head

    def _expired(self) -> int:
        since = self._environment.now - self._settings.idle_seconds + _ROUNDING
        count = 0
        for worker in self._idle:
            if worker.idle_since > since:
                break
            count += 1
        return count

    def _start(self) -> None:
        conditions = self._conditions
        # All of them, always: the next start draws the same, whatever this one came to.
        throttled, revived, boot = self._draw.random(), self._draw.random(), self._draw.random()
        wait = conditions.throttled_seconds if throttled < conditions.throttled_share else 0.0
        is_cold = revived >= conditions.revival_share
        seconds = conditions.revival_seconds
        if is_cold:
            seconds = conditions.cold_start_seconds[int(boot * len(conditions.cold_start_seconds))]
        worker = _Worker(self._environment.now + wait, is_cold=is_cold)
        self._active.add(worker)
        self._starting += 1
        self._bill.starts += 1
        self._bill.most_workers = max(self._bill.most_workers, len(self._active))
        self._after(wait + seconds, self._is_up, worker)

    def _stop(self, worker: _Worker) -> None:
        self._active.remove(worker)
        self._bill.pay(self._environment.now - worker.billed_from)

    def _set_alarms(self, late: int, expired: int) -> None:
        """For the next request that becomes late, and the next worker that has idled for long enough.

        One of each kind is enough: when it rings, the next is set.
        """
        now = self._environment.now
        next_late = self._head + late
        is_delay = self._settings.scaler is Scaler.QUEUE_DELAY
        if is_delay and next_late < self._tail and self._late_alarm <= now:
            self._late_alarm = self._trace.arrivals[next_late] + self._settings.scaler_value
            self._after(self._late_alarm - now, self._alarm)
        if expired < len(self._idle) and len(self._active) > self._settings.active_workers and self._idle_alarm <= now:
            self._idle_alarm = self._idle[expired].idle_since + self._settings.idle_seconds
            self._after(self._idle_alarm - now, self._alarm)

    def _outcome(self) -> Outcome:
        ordered = sorted(self._latencies)
        requests, bill = len(ordered), self._bill
        return Outcome(
            settings=self._settings,
            requests=requests,
            seconds=self._trace.seconds,
            dollars=bill.seconds * self._conditions.price_per_second,
            billed_seconds=bill.seconds,
            used_share=bill.busy_seconds / bill.seconds if bill.seconds else 0.0,
            cold_share=bill.cold_requests / requests if requests else 0.0,
            starts=bill.starts,
            most_workers=max(bill.most_workers, self._settings.active_workers),
            p50_seconds=percentile(ordered, 0.50),
            p95_seconds=percentile(ordered, 0.95),
            p99_seconds=percentile(ordered, 0.99),
            mean_seconds=math.fsum(ordered) / requests if requests else 0.0,
            keeps_up=self._last_end <= self._trace.seconds + _SOON_SECONDS,
        )
