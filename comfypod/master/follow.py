"""A job that was posted, from then to what it means for its request.

Three things say that a job has ended: RunPod's status, a webhook (a hint to ask for the status now), and the result
in the bucket. Only the last is believed, for success: it is there, or it is not, whatever became of the job. So every
end is settled by looking there, and so is every doubt.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from logging import WARNING

from comfypod.cloud.jobs import JobState, JobStatus, PreviewImage
from comfypod.errors import CloudUnavailable, ComfyPodError, DeadlineExceeded, JobNotFound
from comfypod.logs import event
from comfypod.master.bearing import Bucket, stored
from comfypod.master.documents import Outcome, Request
from comfypod.master.endpoints import MasterEndpoint
from comfypod.master.outcome import Setback, cancelled, described, is_duplicate, not_committed, succeeded
from comfypod.master.points import reached
from comfypod.master.states import RUNNING, SUBMITTED
from comfypod.master.store import Store
from comfypod.master.watch import Wishes

_GROWTH = 1.3
_LARGEST_PREVIEW_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Pace:
    """How often is asked, and how long is waited; all in seconds.

    Args:
        first: until the first look at a job.
        running: between looks at one that runs: front ends show its progress.
        queued: the longest between looks at one that waits on RunPod.
        bucket: between looks for the result of a job that runs.
        in_queue: so long a job may wait on RunPod; then it is taken back, and posted again where there is room.
        on_worker: so long a job may run that has no timeout of its own; others get ``margin`` more than theirs.
        margin: what RunPod and the worker need besides.
    """

    first: float = 0.4
    running: float = 1.0
    queued: float = 5.0
    bucket: float = 10.0
    in_queue: float = 1800.0
    on_worker: float = 3600.0
    margin: float = 180.0


@dataclass(slots=True)
class Follower:
    """Follows one job of one request; call `follow` once."""

    store: Store
    bucket: Bucket
    wishes: Wishes
    pace: Pace
    request: Request
    endpoint: MasterEndpoint | None
    _status: JobStatus | None = None
    _shown: tuple[object, ...] = ()
    _preview: PreviewImage | None = None
    _since: float = field(default_factory=time.monotonic)
    _looked_at: float = field(default_factory=time.monotonic)

    async def follow(self) -> Outcome | Setback | None:
        """The request's end, or what went wrong with this attempt. None: the request has gone on without us.

        Failures to ask are borne for as long as they last.
        """
        job_id = self.request.job_id
        if self.endpoint is None or job_id is None:
            return await self._settle(JobNotFound(job_id or "without an id"))
        pause_seconds = self.pace.first
        while True:
            await self.wishes.pause(pause_seconds)
            if self.wishes.is_cancelled:
                return await self._cancel(job_id)
            await self._take_hint()
            found = await self._look(self.endpoint, job_id)
            if not isinstance(found, JobStatus):
                return found
            pause_seconds = self._next_pause(pause_seconds, found)
            end = await self._passed(found, job_id)
            if end is not None:
                return end

    async def _take_hint(self) -> None:
        if self.wishes.is_hinted:
            self.wishes.is_hinted = False
            await stored(self.store.take_hint, self.request.key)

    async def _look(self, endpoint: MasterEndpoint, job_id: str) -> JobStatus | Outcome | Setback | None:
        """Ask once. A status: it goes on. Else what `follow` returns."""
        try:
            status = await endpoint.status(job_id)
        except JobNotFound as error:
            return await self._settle(error)
        except ComfyPodError as error:
            event("status_unknown", WARNING, key=self.request.key, job=job_id, code=error.code, cause=str(error))
            return self._status or JobStatus(job_id, JobState.IN_QUEUE)
        reached("while_following", self.request.key)
        is_new = self._status is None or status.state.is_running != self._status.state.is_running
        self._since = time.monotonic() if is_new else self._since
        self._status = status
        if status.state.is_final:
            return await self._ended(status)
        return status if await self._show(status) else None

    async def _ended(self, status: JobStatus) -> Outcome | Setback:
        """What the end of a job means."""
        if status.state is JobState.COMPLETED and is_duplicate(status):
            return await self._settle(JobNotFound(status.id))
        try:
            status.result()
        except ComfyPodError as error:
            return await self._settle(error)
        return described(status) or await self._settle(not_committed())

    async def _settle(self, error: ComfyPodError) -> Outcome | Setback:
        """The committed result, if there is one, or once whoever is at it has made it; else the setback."""
        key = self.request.key
        while True:
            committed = await self.bucket.result(key)
            if committed is not None:
                return succeeded(committed, self._status)
            lease = await self.bucket.live_lease(key)
            if lease is None:
                return Setback(error, self._status.worker_id if self._status else None)
            if self.wishes.is_cancelled:
                return await self._cancel(lease.job_id)
            await self.wishes.pause(self.pace.running)
            await self._take_hint()

    async def _cancel(self, job_id: str) -> Outcome | Setback:
        """Have RunPod cancel the job. One that was faster has succeeded all the same."""
        while self.endpoint is not None:
            try:
                answer = await self.endpoint.cancel(job_id)
            except CloudUnavailable as error:
                event("not_cancelled_yet", WARNING, key=self.request.key, job=job_id, cause=str(error))
                continue  # the client has paused before it gave up
            except ComfyPodError:  # it is gone, or will never be cancelled by us
                break
            if answer.state is JobState.COMPLETED:
                committed = await self.bucket.result(self.request.key)
                return succeeded(committed, self._status) if committed else cancelled()
            break
        return cancelled()

    async def _passed(self, status: JobStatus, job_id: str) -> Outcome | Setback | None:
        """What time alone brings about: a result without a word, or the end of our patience."""
        now = time.monotonic()
        if status.state.is_running and now - self._looked_at > self.pace.bucket:
            self._looked_at = now
            committed = await self.bucket.result(self.request.key)
            if committed is not None:
                return succeeded(committed, status)
        allowed = self._allowed(status)
        if now - self._since <= allowed or self.endpoint is None:
            return None
        event("taken_back", WARNING, key=self.request.key, job=job_id, state=status.state.value, seconds=allowed)
        with suppress(ComfyPodError):  # the worker knows the key: should it run all the same, that is no second result
            await self.endpoint.cancel(job_id)
        if status.state.is_running:
            return await self._settle(DeadlineExceeded("on the worker", allowed))
        return await self._settle(CloudUnavailable(self.endpoint.url, f"the job waited {allowed:g} s for a worker"))

    def _allowed(self, status: JobStatus) -> float:
        if not status.state.is_running:
            return self.pace.in_queue
        own = self.request.timeout_seconds
        return self.pace.on_worker if own is None else own + self.pace.margin

    def _next_pause(self, pause_seconds: float, status: JobStatus) -> float:
        if status.state.is_running:
            return self.pace.running
        return min(pause_seconds * _GROWTH, self.pace.queued)

    async def _show(self, status: JobStatus) -> bool:
        """Write down what is new; false if the request has gone on without us."""
        progress = status.progress
        is_running = status.state.is_running
        shown = (is_running, status.worker_id, progress.get("sequence") if progress else None)
        preview = progress.preview if progress else None
        if preview is not None and preview != self._preview and len(preview.data) <= _LARGEST_PREVIEW_BYTES:
            self._preview = preview
            await stored(self.store.save_preview, self.request.key, preview.content_type, preview.data)
        if shown == self._shown:
            return True
        self._shown = shown
        return await stored(
            self.store.progressed,
            self.request.key,
            self.request.attempt,
            RUNNING if is_running else SUBMITTED,
            dict(progress) if progress else None,
            status.worker_id,
        )
