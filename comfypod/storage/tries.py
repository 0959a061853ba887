"""Trying again: a source or target that breaks off, or asks to come back later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from comfypod.deadline import Deadline
from comfypod.errors import DownloadInterrupted
from comfypod.retry import backoff_seconds

ATTEMPTS = 5
LONGEST_RETRY_AFTER_SECONDS = 120.0

T = TypeVar("T")


@dataclass(eq=False)
class SourceBusy(DownloadInterrupted):
    """The source answered, and asks to come back later; after so many seconds, if it said so (else 0)."""

    retry_after_seconds: float = 0.0


class Tries:
    """Counts tries in a row that led nowhere, and waits between them."""

    def __init__(self, deadline: Deadline, attempts: int = ATTEMPTS) -> None:
        self._deadline = deadline
        self._attempts = attempts
        self.progressed()

    def progressed(self) -> None:
        """Begin counting anew."""
        self._failed = 0
        self._pauses = backoff_seconds()

    async def pause(self, error: DownloadInterrupted) -> None:
        """Wait before the next try.

        Raises:
            DownloadInterrupted: ``error``, if there is no next try: too many were in vain, or the wait is too long.
        """
        self._failed += 1
        asked_seconds = error.retry_after_seconds if isinstance(error, SourceBusy) else 0.0
        seconds = max(asked_seconds, next(self._pauses))
        if self._failed >= self._attempts or seconds > self._deadline.sooner(LONGEST_RETRY_AFTER_SECONDS):
            raise error
        await asyncio.sleep(seconds)


async def insist(request: Callable[[], Awaitable[T]], tries: Tries, position: Callable[[], int] = lambda: 0) -> T:
    """The outcome of ``request``, tried again after failures that may pass, as ``tries`` allows.

    A try that failed, and after which ``position`` is further than ever, has led somewhere.
    """
    furthest = position()
    while True:
        try:
            return await request()
        except DownloadInterrupted as error:
            if position() > furthest:
                furthest = position()
                tries.progressed()
            await tries.pause(error)
