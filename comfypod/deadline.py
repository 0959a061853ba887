"""A deadline: the moment by which something must have ended, passed down from call to call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from comfypod.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, and the duration it came from (both in seconds)."""

    moment: float
    allowed_seconds: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline ``seconds`` from now."""
        return cls(time.monotonic() + seconds, seconds)

    @property
    def remaining_seconds(self) -> float:
        """Seconds left; never below 0."""
        return max(0.0, self.moment - time.monotonic())

    def sooner(self, seconds: float) -> float:
        """``seconds``, or what is left if that is less: the timeout of one step."""
        return min(seconds, self.remaining_seconds)

    def check(self, phase: str) -> None:
        """Raise `DeadlineExceeded` if the moment has passed."""
        if self.remaining_seconds <= 0:
            raise DeadlineExceeded(phase, self.allowed_seconds)

    @asynccontextmanager
    async def enforce(self, phase: str) -> AsyncIterator[None]:
        """Cancel the body when the moment comes, and raise `DeadlineExceeded` in its place.

        A cancellation from outside passes through unchanged.
        """
        try:
            async with asyncio.timeout(self.remaining_seconds) as scope:
                yield
        except TimeoutError as error:
            if scope.expired():
                raise DeadlineExceeded(phase, self.allowed_seconds) from error
            raise
