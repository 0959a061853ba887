"""What workers cost. Pure: moments are passed in, in seconds on any one clock.

A worker is billed by the second, from its start until it has fully stopped, rounded up (docs.runpod.io, "Pricing").
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Start:
    """One start of a worker, or one revival, until it is stopped or frozen."""

    begun: float
    ready: float | None = None
    ended: float | None = None

    def seconds(self, now: float, *, bill_initializing: bool) -> int:
        since = self.begun if bill_initializing else self.ready
        if since is None:
            return 0
        # Rounding first: 3.0000000001 s, which is 3 s on another clock, is no fourth second.
        return math.ceil(round((now if self.ended is None else self.ended) - since, 6))


@dataclass(slots=True)
class WorkerBill:
    """The billed time of one worker. Frozen (FlashBoot) it is not billed, and a revival is a start of its own."""

    bill_initializing: bool
    _starts: list[_Start] = field(default_factory=list)

    def start(self, now: float) -> None:
        """The worker was started or revived."""
        self._starts.append(_Start(now))

    def ready(self, now: float) -> None:
        """It could take a job; only the first time after a start counts."""
        if self._starts[-1].ready is None:
            self._starts[-1].ready = now

    def stop(self, now: float) -> None:
        """Its processes are gone, or frozen; only the first time after a start counts."""
        if self._starts[-1].ended is None:
            self._starts[-1].ended = now

    def seconds(self, now: float) -> int:
        """Whole seconds up to now, each start rounded up."""
        return sum(start.seconds(now, bill_initializing=self.bill_initializing) for start in self._starts)


@dataclass(frozen=True, slots=True)
class Spend:
    """What an endpoint has cost so far."""

    billed_seconds: int
    dollars: float
    price_per_second: float


class Ledger:
    """The bills of all workers of an endpoint, those that are gone included."""

    def __init__(self, price_per_second: float, *, bill_initializing: bool = True) -> None:
        self._price = price_per_second
        self._bill_initializing = bill_initializing
        self._open: dict[str, WorkerBill] = {}
        self._closed_seconds = 0

    def open(self, worker_id: str, now: float) -> WorkerBill:
        """The bill of a worker that starts now."""
        bill = self._open[worker_id] = WorkerBill(self._bill_initializing)
        bill.start(now)
        return bill

    def close(self, worker_id: str, now: float) -> None:
        """The worker is gone for good."""
        bill = self._open.pop(worker_id)
        bill.stop(now)
        self._closed_seconds += bill.seconds(now)

    def dollars(self, seconds: int) -> float:
        """The price of so many seconds."""
        return round(seconds * self._price, 6)

    def spend(self, now: float) -> Spend:
        """Everything so far."""
        seconds = self._closed_seconds + sum(bill.seconds(now) for bill in self._open.values())
        return Spend(seconds, self.dollars(seconds), self._price)
