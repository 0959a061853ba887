"""A deadline: the moment by which something must have ended, passed down from call to call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from comfypod.errors import DeadlineExceeded


class Deadline:
    """A moment on the monotonic clock, and the duration it came from (both in seconds).

    It can be told to stand still, while something is waited for that is not to count: see `pause`.
    """

    def __init__(self, moment: float, allowed_seconds: float) -> None:
        self.allowed_seconds = allowed_seconds
        self._moment = moment
        self._paused_since: float | None = None
        self._scopes: set[asyncio.Timeout] = set()

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline ``seconds`` from now."""
        return cls(time.monotonic() + seconds, seconds)

    @property
    def remaining_seconds(self) -> float:
        """Seconds left; never below 0."""
        now = time.monotonic() if self._paused_since is None else self._paused_since
        return max(0.0, self._moment - now)

    def sooner(self, seconds: float) -> float:
        """``seconds``, or what is left if that is less: the timeout of one step."""
        return min(seconds, self.remaining_seconds)

    def check(self, phase: str) -> None:
        """Raise `DeadlineExceeded` if the moment has passed."""
        if self.remaining_seconds <= 0:
            raise DeadlineExceeded(phase, self.allowed_seconds)

    def pause(self) -> None:
        """Let it stand still until `resume`: bodies under `enforce` are not cancelled meanwhile."""
        if self._paused_since is None:
            self._paused_since = time.monotonic()
            self._schedule(*self._scopes)

    def resume(self) -> None:
        """Let it count again: the moment is later by as long as it stood still."""
        if self._paused_since is not None:
            self._moment += time.monotonic() - self._paused_since
            self._paused_since = None
            self._schedule(*self._scopes)

    @asynccontextmanager
    async def enforce(self, phase: str) -> AsyncIterator[None]:
        """Cancel the body when the moment comes, and raise `DeadlineExceeded` in its place.

        A cancellation from outside passes through unchanged.
        """
        try:
            async with asyncio.timeout(None) as scope:
                self._scopes.add(scope)
                try:
                    self._schedule(scope)
                    yield
                finally:
                    self._scopes.discard(scope)
        except TimeoutError as error:
            if scope.expired():
                raise DeadlineExceeded(phase, self.allowed_seconds) from error
            raise

    def _schedule(self, *scopes: asyncio.Timeout) -> None:
        """Let the scopes expire at the moment, or not before it stands still no more."""
        moment = asyncio.get_running_loop().time() + self.remaining_seconds
        for scope in scopes:
            if not scope.expired():
                scope.reschedule(moment if self._paused_since is None else None)
