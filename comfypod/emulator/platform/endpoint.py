"""One emulated endpoint as its routes share it: the jobs, what keeps them, and who waits for a change of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from aiohttp import web

from comfypod.emulator.events import log_event
from comfypod.emulator.platform.clock import EndpointClock
from comfypod.emulator.platform.faults import PlatformFaults
from comfypod.emulator.platform.http import Bell
from comfypod.emulator.platform.job import Document, Job
from comfypod.emulator.platform.jobs import EndpointJobs
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.rates import RateLimits, RateMeter
from comfypod.emulator.platform.store import JobStore
from comfypod.emulator.platform.webhooks import WebhookSender, pauses_of

_SWEEP_SECONDS = 0.1
# runpod-python polls again without a pause after an empty answer or an error, thousands of times a second; an answer
# that cannot be held for long is held for this long.
_SHORT_HOLD_SECONDS = 0.1


class EmulatedEndpoint:
    """Jobs, and who waits for them. Call `changed` after every change of ``jobs``, before anybody is told of it.

    ``max_workers`` is how many workers there may be, which limits the queue; None: any number, and there is no limit.
    State file and webhooks work within `lifetime`.
    """

    def __init__(
        self, options: PlatformOptions | None = None, *, max_workers: int | Callable[[], int] | None = None
    ) -> None:
        self.options = options or PlatformOptions()
        self._clock = EndpointClock()
        self.jobs = EndpointJobs(self._clock, self.options.limits, self.options.switches)
        self.rates = RateMeter(self.options.rate_limits or RateLimits(by_operation={}), self._clock)
        self.faults = PlatformFaults(self.options.faults)
        self.is_closing = False  # no job is given out any more
        self.is_closed = False  # every held request is answered
        self.state_failure: str | None = None  # why the last change could not be kept
        self._max_workers = max_workers
        self._bell = Bell()
        self._released: set[str] = set()
        self._revived: set[str] = set()
        self._store: JobStore | None = None
        self._unsaved: dict[str, Job | None] = {}
        self._webhooks: WebhookSender | None = None
        self._later: set[asyncio.Task[None]] = set()

    @property
    def max_workers(self) -> int | None:
        """How many workers there may be now."""
        return self._max_workers() if callable(self._max_workers) else self._max_workers

    async def lifetime(self, _: web.Application | None = None) -> AsyncIterator[None]:
        """Open the state file and go on with its jobs, deliver webhooks, and end all of it; for ``cleanup_ctx``.

        Raises:
            OSError: the state file cannot be opened, or another emulator uses it.
            ValueError: it is none, or of another version.
        """
        limits, spacing = self.options.limits, self.options.switches.webhook_spacing
        pauses = pauses_of(spacing, limits.webhook_pause_factor)
        self._open_store()
        try:
            async with WebhookSender(pauses, limits.webhook_seconds, self._webhook_ended) as webhooks:
                self._webhooks = webhooks
                self.changed()  # the webhooks that an earlier process did not come to
                try:
                    yield
                finally:
                    self._webhooks = None
                    await self._drop_later()
        finally:
            if self._store is not None:
                self._store.close()
                self._store = None

    def changed(self) -> None:
        """Keep what changed, tell webhooks, and let everybody who is held look again.

        If the state file cannot be written, `state_failure` says so until it can; nothing is lost meanwhile but by the
        end of the process.
        """
        self._keep()
        if self._webhooks is not None:
            for notice in self.jobs.take_notices():
                self._webhooks.send(notice)
        self._bell.ring()

    def close(self) -> None:
        """Answer every held request."""
        self.is_closing = self.is_closed = True
        self.changed()

    def release(self, worker_id: str) -> None:
        """Answer the worker's held polls, so that its loops see that they were told to end; give it no more jobs."""
        self._released.add(worker_id)
        self.changed()

    def revive(self, worker_id: str) -> None:
        """A released worker that was kept frozen goes on: it gets jobs again, after one answer of 400.

        runpod-python 1.12.0, ``rp_job.get_job``: 400 is "expected when FlashBoot is enabled".
        """
        self._released.discard(worker_id)
        self._revived.add(worker_id)

    def take_revival(self, worker_id: str) -> bool:
        """Whether the worker was revived and has not been told yet; the answer is yes once."""
        is_revived = worker_id in self._revived
        self._revived.discard(worker_id)
        return is_revived

    def forget(self, worker_id: str) -> None:
        """The worker's process is gone. Its jobs are lost when their time is up, as on the platform."""
        self._released.discard(worker_id)
        self._revived.discard(worker_id)
        self.jobs.forget_worker(worker_id)

    def is_leaving(self, worker_id: str) -> bool:
        """Whether this worker is to end, or everything is."""
        return self.is_closed or worker_id in self._released

    def overview(self, recent: int = 50) -> Document:
        """``{"queue", "jobs", "recent_jobs", "job_count"}``, for whoever looks at the emulator.

        ``queue``: ``waiting``, ``low_priority`` (jobs) and ``longest_wait_seconds``; ``jobs``: how many ended how since
        the start, run, and wait; ``recent_jobs``: up to ``recent`` of them, those that run or wait first.
        """
        return self.jobs.overview(recent)

    async def poll(self, worker_id: str, is_due: Callable[[], bool]) -> None:
        """Hold a worker's request until there is something for it; that of an ending worker only for a moment."""
        if self.is_leaving(worker_id):
            await asyncio.sleep(_SHORT_HOLD_SECONDS)
        else:
            await self.hold(self.options.poll_seconds, lambda: is_due() or self.is_leaving(worker_id))
        if not self.is_leaving(worker_id):
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
            if self.jobs.sweep() or self.state_failure is not None:
                self.changed()

    def do_later(self, seconds: float, action: Callable[[], None]) -> None:
        """Act after a while, unless the server ends before; a planned fault delays progress so."""

        async def act() -> None:
            await asyncio.sleep(seconds)
            action()

        task = asyncio.create_task(act())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _drop_later(self) -> None:
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)

    def _open_store(self) -> None:
        if self.options.state_file is None:
            return
        self._store = JobStore(self.options.state_file)
        try:
            jobs, totals = self._store.load()
        except BaseException:
            self._store.close()
            raise
        self._clock.go_on_after(max((job.latest for job in jobs), default=0.0))
        self.jobs.restore(jobs, totals)
        log_event("state_restored", file=str(self.options.state_file), jobs=len(jobs))

    def _keep(self) -> None:
        changes = self.jobs.take_changes()
        if self._store is None:
            return
        self._unsaved.update(changes)
        try:
            self._store.save(self._unsaved, self.jobs.totals)
        except (OSError, ValueError) as error:
            if self.state_failure is None:  # it is tried again ten times a second
                log_event("state_not_kept", logging.ERROR, jobs=len(self._unsaved), reason=str(error))
            self.state_failure = str(error)
        else:
            self._unsaved, self.state_failure = {}, None

    def _webhook_ended(self, job_id: str) -> None:
        self.jobs.webhook_ended(job_id)
        self._keep()
