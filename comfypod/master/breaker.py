"""A circuit breaker: whether an endpoint is worth asking at all. Pure; the time is passed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["closed", "open", "half_open"]

FAILURES = 5
"""So many in a row open it."""
FIRST_OPEN_SECONDS = 5.0
LONGEST_OPEN_SECONDS = 120.0


@dataclass(slots=True)
class Breaker:
    """Closed: all may pass. Open: nobody, for some seconds. Half-open: one may try, and decides for all.

    Each time the try fails, it stays open for twice as long as before.
    """

    failures: int = 0
    open_until: float | None = None
    open_seconds: float = FIRST_OPEN_SECONDS
    is_trying: bool = False

    def state(self, now: float) -> State:
        """Its state."""
        if self.open_until is None:
            return "closed"
        return "open" if now < self.open_until else "half_open"

    def take(self, now: float) -> bool:
        """Whether one may pass now. Whoever may must tell afterwards how it went, or `give_back` the turn."""
        state = self.state(now)
        if state == "half_open" and not self.is_trying:
            self.is_trying = True
            return True
        return state == "closed"

    def give_back(self) -> None:
        """The one that might pass did not ask after all, or its answer says nothing about the endpoint."""
        self.is_trying = False

    def succeeded(self) -> None:
        """The endpoint did what it was asked for."""
        self.failures, self.open_until, self.open_seconds, self.is_trying = 0, None, FIRST_OPEN_SECONDS, False

    def failed(self, now: float, at_once: bool = False) -> None:
        """The endpoint did not answer, or is too busy; ``at_once``: no further failure is needed to know."""
        self.failures += 1
        if self.open_until is not None:
            if not self.is_trying and self.state(now) == "open":
                return  # one that passed before it opened
            self.open_seconds = min(self.open_seconds * 2, LONGEST_OPEN_SECONDS)
        elif self.failures < FAILURES and not at_once:
            return
        self.open_until, self.is_trying = now + self.open_seconds, False
