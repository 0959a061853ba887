"""RunPod's rate limits: requests within ten seconds and at the same time, per operation. Pure.

docs.runpod.io, "Send API requests", "Rate limits". The limit of an account grows with its running workers by a factor
that is not documented; the base values apply here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


class TooManyRequests(Exception):
    """The platform answers HTTP 429; back off, and try again."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most so many requests in a window, and so many that are being answered at the same time (None: any)."""

    requests: int
    concurrent: int | None = None


def _documented() -> dict[str, RateLimit]:
    return {
        "run": RateLimit(1000, 200),
        "runsync": RateLimit(2000, 400),
        "status": RateLimit(2000, 400),
        "stream": RateLimit(2000, 400),
        "cancel": RateLimit(100, 20),
        "purge-queue": RateLimit(2),
        "requests": RateLimit(10, 2),
    }


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The limits by operation; an operation without one is not limited. The defaults are RunPod's."""

    window_seconds: float = 10.0
    by_operation: dict[str, RateLimit] = field(default_factory=_documented)


@dataclass(slots=True)
class _Use:
    """When an operation was requested within the last window, and how many requests of it are being answered."""

    moments: deque[float] = field(default_factory=deque)
    current: int = 0


class RateMeter:
    """Counts the requests of one endpoint; ``clock`` gives seconds that only grow. Not thread-safe."""

    def __init__(self, limits: RateLimits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._uses = {operation: _Use() for operation in limits.by_operation}

    @contextmanager
    def admit(self, operation: str) -> Iterator[None]:
        """Count a request while it is being answered. A refused one counts towards nothing.

        Raises:
            TooManyRequests: there were too many within the window, or there are too many at this moment.
        """
        use = self._uses.get(operation)
        if use is None:
            yield
            return
        self._check(operation, use)
        use.moments.append(self._clock())
        use.current += 1
        try:
            yield
        finally:
            use.current -= 1

    def _check(self, operation: str, use: _Use) -> None:
        limit, window = self._limits.by_operation[operation], self._limits.window_seconds
        while use.moments and use.moments[0] <= self._clock() - window:
            use.moments.popleft()
        if len(use.moments) >= limit.requests:
            raise TooManyRequests(
                f"There were more than {limit.requests} requests to /{operation} within {window:g} s. Slow down."
            )
        if limit.concurrent is not None and use.current >= limit.concurrent:
            raise TooManyRequests(
                f"More than {limit.concurrent} requests to /{operation} are being answered. Wait for one to end."
            )
