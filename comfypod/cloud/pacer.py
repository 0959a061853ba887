"""RunPod's rate limits, kept from this side: one pacer for all threads of a client.

The limits count per user and endpoint (docs.runpod.io, "Send API requests", rate limits); so other programs of the same
user share them, and a fifth of each is left to those.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from comfypod.cloud.clock import Clock

WINDOW_SECONDS = 10.0
SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls in 10 s, and so many at once."""

    calls: int
    at_once: int


RATES = {
    "run": Rate(1000, 200),
    "status": Rate(2000, 400),
    "cancel": Rate(100, 20),
    "requests": Rate(10, 2),
    "purge-queue": Rate(2, 1),
    # Not in RunPod's table. A retry queues a job, as /run does; the health is looked at by people.
    "retry": Rate(1000, 200),
    "health": Rate(100, 20),
}


@dataclass(slots=True)
class _Route:
    limit: int
    at_once: threading.Semaphore
    moments: deque[float] = field(default_factory=deque)


class Pacer:
    """Keeps every call back until it is inside the limits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._routes = {
            name: _Route(_share(rate.calls), threading.Semaphore(_share(rate.at_once))) for name, rate in RATES.items()
        }

    @contextmanager
    def turn(self, route: str, clock: Clock) -> Iterator[None]:
        """Wait for the call's turn, and hold its place among those at once while the body runs."""
        with self._routes[route].at_once:
            seconds = self._reserve(self._routes[route], clock.now())
            if seconds > 0:
                clock.sleep(seconds)
            yield

    def _reserve(self, route: _Route, now: float) -> float:
        """Take the next free moment; how far away it is, in seconds.

        It is the moment of the call that was ``limit`` calls earlier, and 10 s: no window of 10 s, wherever it begins,
        then holds more calls than the limit.
        """
        with self._lock:
            moment = now
            if len(route.moments) == route.limit:
                moment = max(now, route.moments.popleft() + WINDOW_SECONDS)
            route.moments.append(moment)
        return moment - now


def _share(limit: int) -> int:
    return max(1, int(limit * SHARE))
