"""One emulated endpoint as its routes share it: the jobs, and the requests that are held until something changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from comfypod.emulator.platform.http import Bell
from comfypod.emulator.platform.jobs import EndpointJobs
from comfypod.emulator.platform.requests import Limits

_SWEEP_SECONDS = 0.1
# runpod-python polls again without a pause after an empty answer or an error, thousands of times a second; an answer
# that cannot be held for long is held for this long.
_SHORT_HOLD_SECONDS = 0.1


class EmulatedEndpoint:
    """Jobs, and who waits for them. Call `changed` after every change of ``jobs``."""

    def __init__(self, limits: Limits | None, poll_seconds: float) -> None:
        self.jobs = EndpointJobs(time.monotonic, limits)
        self.is_closing = False  # no job is given out any more
        self.is_closed = False  # every held request is answered
        self._poll_seconds = poll_seconds
        self._bell = Bell()
        self._released: set[str] = set()

    def changed(self) -> None:
        """Let everybody who is held look again."""
        self._bell.ring()

    def close(self) -> None:
        """Answer every held request."""
        self.is_closing = self.is_closed = True
        self.changed()

    def release(self, worker_id: str) -> None:
        """Answer the worker's held polls, so that its loops see that they were told to end; give it no more jobs."""
        self._released.add(worker_id)
        self.changed()

    def forget(self, worker_id: str) -> None:
        """The worker's process is gone. Its jobs are lost when their time is up, as on the platform."""
        self._released.discard(worker_id)
        self.jobs.forget_worker(worker_id)

    def is_leaving(self, worker_id: str) -> bool:
        """Whether this worker is to end, or everything is."""
        return self.is_closed or worker_id in self._released

    async def poll(self, worker_id: str, is_due: Callable[[], bool]) -> None:
        """Hold a worker's request until there is something for it; that of an ending worker only for a moment."""
        if self.is_leaving(worker_id):
            await asyncio.sleep(_SHORT_HOLD_SECONDS)
        else:
            await self.hold(self._poll_seconds, lambda: is_due() or self.is_leaving(worker_id))
        self.jobs.hear(worker_id)

    async def hold(self, seconds: float, is_due: Callable[[], bool]) -> None:
        """Return as soon as ``is_due``, which is asked after every change, or after ``seconds``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not is_due():
                    await self._bell.wait()

    async def sweep_forever(self) -> None:
        """Let time end what it ends: results, timeouts, lost jobs."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            if self.jobs.sweep():
                self.changed()
