"""One run of one request, from wherever it stands to its end: the durable workflow.

It may begin anywhere, any number of times, in any master, and also twice at the same time. So it remembers nothing
but what the request's row, the bucket and RunPod say, in this order of trust: the result in the bucket, the row, the
job's status. Every change of the row names the run or the attempt that it is of; of two that work on the same
request, one finds that its changes do not take, and looks again.

What happens if the master dies (the names are those of `comfypod.master.points`):

==================  ====================  ==============================================================================
it dies             the row says          who takes it up does
==================  ====================  ==============================================================================
at ``claimed``      queued                begins
at ``before_post``  submitting            looks for a result, for a worker that is at it (its lease), for the job in the
at ``after_post``   submitting            endpoint's list; finds none of them: posts again. If there is a job after all,
                                          the second one finds the first one's result or lease, and uses no GPU
at ``after_save``   submitted             follows the job by its id
``while_following`` submitted, running    the same
in a pause          waiting               looks for a result, and posts again
``before_finish``   submitted, running    finds the result in the bucket, or the failure in the job's status
``after_finish``    succeeded, failed, …  nothing: the end and what is to be told of it were written in one transaction
==================  ====================  ==============================================================================

Between POST and saving the id nothing is known of the job but the request's key, which is in its input. That is enough:
the key, not the id, is what a result is committed under.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from logging import ERROR, WARNING

from comfypod.errors import ComfyPodError, RequestNotFound, RequestQuarantined
from comfypod.logs import event, log
from comfypod.master.attempt import Poster
from comfypod.master.bearing import Bucket, stored
from comfypod.master.documents import Outcome, Request
from comfypod.master.endpoints import Endpoints
from comfypod.master.failures import FailureClass, Record, classify, describe, is_suspicious
from comfypod.master.follow import Follower, Pace
from comfypod.master.outcome import Setback, cancelled, failed, succeeded
from comfypod.master.points import reached
from comfypod.master.states import RUNNING, SUBMITTED, SUBMITTING
from comfypod.master.store import Store
from comfypod.master.watch import Watch, Wishes

POISONED_WORKERS = 3
"""A workflow that broke so many different workers is not run any more."""
BAD_WORKER_WORKFLOWS = 3
BAD_WORKER_SPAN = timedelta(hours=1)
"""A worker that so many different workflows failed on in this time is to blame, and not they."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What all runs of a master share. ``webhook`` makes the address that RunPod calls, of a request's key."""

    store: Store
    bucket: Bucket
    endpoints: Endpoints
    watch: Watch
    pace: Pace
    webhook: Callable[[str], str] | None = None


async def carry(tools: Tools, key: str, run: int) -> None:
    """Carry a run to its end. Nothing is raised but a cancellation, which leaves it where it stands.

    A bug of ours fails the request with ``internal``: it would happen again, and somebody waits for a word.
    """
    reached("claimed", key)
    with tools.watch.of(key) as wishes:
        work = RequestRun(tools, key, run, wishes)
        try:
            await work.carry()
        except RequestNotFound:
            event("request_vanished", WARNING, key=key, run=run)
        except Exception as error:  # noqa: BLE001 (the boundary of a request)
            log.log(ERROR, "request_broke", exc_info=error, extra={"fields": {"key": key, "run": run}})
            await work.finish(_broken(error))


class RequestRun:
    """The run of a request that one master carries."""

    def __init__(self, tools: Tools, key: str, run: int, wishes: Wishes) -> None:
        self._tools = tools
        self._store = tools.store
        self._key = key
        self._run = run
        self._wishes = wishes
        self._record = Record()
        self._avoid: str | None = None

    async def carry(self) -> None:
        """Do what comes next, until there is an end, or it is somebody else's."""
        while (request := await self._mine()) is not None:
            outcome = await self._advance(request)
            if outcome is not None:
                await self.finish(outcome)

    async def finish(self, outcome: Outcome) -> None:
        """Write the end down, unless there is one."""
        reached("before_finish", self._key)
        if await stored(self._store.finish, self._key, self._run, outcome):
            code = outcome.error["code"] if outcome.error else None
            event("request_ended", key=self._key, state=outcome.state, **({"code": code} if code else {}))
        reached("after_finish", self._key)

    async def _mine(self) -> Request | None:
        """The request as it stands, while this run of it is to be carried."""
        request = await stored(self._store.get, self._key)
        return None if request.run != self._run or request.is_ended else request

    async def _advance(self, request: Request) -> Outcome | None:
        """One step: an attempt, or the one that is under way. An outcome ends the request."""
        if request.cancel_requested_at is not None:
            self._wishes.is_cancelled = True
        if request.state in {SUBMITTED, RUNNING}:
            return await self._follow(request)
        if request.attempt:  # somebody may have been at it before us
            found = await self._traces(request)
            if found is not None:
                return found
        if self._wishes.is_cancelled:
            return cancelled()
        reason = await stored(self._store.quarantined, request.workflow_hash)
        if reason is not None:
            return failed(Setback(RequestQuarantined(request.workflow_hash, reason)), FailureClass.POISON)
        setback = await self._poster().post(request, self._avoid)
        return None if setback is None else await self._fall_back(await stored(self._store.get, self._key), setback)

    async def _traces(self, request: Request) -> Outcome | None:
        """What earlier attempts left: a result, or a worker that is at it now, or a job whose id was not saved."""
        committed = await self._tools.bucket.result(self._key)
        if committed is not None:
            return succeeded(committed)
        if request.state != SUBMITTING:
            return None
        lease = await self._tools.bucket.live_lease(self._key)
        job_id = lease.job_id if lease else await self._listed_job(request)
        if job_id is None:
            return None
        event("job_found", key=self._key, job=job_id, attempt=request.attempt)
        await stored(self._store.submitted, self._key, request.attempt, job_id)
        return await self._follow(await stored(self._store.get, self._key))

    async def _listed_job(self, request: Request) -> str | None:
        """The job that was posted before its id could be saved, if the endpoint lists it; a look that may fail.

        Of a later attempt it could be the job of an earlier one.
        """
        endpoint = self._tools.endpoints.named(request.endpoint)
        if endpoint is not None and request.attempt == 1:
            with suppress(ComfyPodError):
                return await endpoint.find(self._key)
        return None

    async def _follow(self, request: Request) -> Outcome | None:
        if request.is_ended or request.run != self._run:
            return None
        endpoint = self._tools.endpoints.named(request.endpoint)
        follower = Follower(self._store, self._tools.bucket, self._wishes, self._tools.pace, request, endpoint)
        found = await follower.follow()
        return await self._fall_back(request, found) if isinstance(found, Setback) else found

    async def _fall_back(self, request: Request, setback: Setback) -> Outcome | None:
        """After an attempt that came to nothing: a pause before the next one, or the end."""
        if self._wishes.is_cancelled:
            return cancelled()
        failure = classify(setback.error)
        is_forgiven = await self._note(request, setback, failure)
        seconds = self._record.pause_after(failure, is_forgiven=is_forgiven)
        details = describe(setback.error, failure)
        event("attempt_failed", WARNING, key=self._key, attempt=request.attempt, **_brief(details, seconds))
        if seconds is None:
            return failed(setback, failure)
        self._avoid = request.endpoint
        if await stored(self._store.waits, self._key, request.attempt, details):
            await self._wishes.pause(seconds)
        return None

    async def _note(self, request: Request, setback: Setback, failure: FailureClass) -> bool:
        """Note who failed where; whether the worker is to blame, and not the request."""
        worker_id = setback.worker_id
        if worker_id is None or not is_suspicious(setback.error, failure):
            return False
        workers = await stored(self._store.failed_on, request.workflow_hash, worker_id, failure.value)
        workflows = await stored(self._store.failed_workflows, worker_id, BAD_WORKER_SPAN)
        if workflows >= BAD_WORKER_WORKFLOWS:
            event("worker_is_bad", WARNING, worker=worker_id, workflows=workflows)
            return True
        if workers >= POISONED_WORKERS:
            reason = f"it broke {workers} workers, the last one with: {setback.error}"
            await stored(self._store.quarantine, request.workflow_hash, reason)
        return False

    def _poster(self) -> Poster:
        tools = self._tools
        return Poster(self._store, tools.endpoints, self._wishes, tools.webhook)


def _broken(error: Exception) -> Outcome:
    """The end of a request that met a bug of ours; the log has the traceback."""
    message = f"The master has a bug, or met one ({type(error).__name__}); its log says more. `replay` runs it again"
    details = {"code": "internal", "message": message, "class": "unknown", "retryable": False, "details": {}}
    return Outcome(state="failed", error=details)


def _brief(details: dict[str, object], seconds: float | None) -> dict[str, object]:
    """What a log line says of a failure."""
    brief = {"failure": details["class"], "code": details["code"], "cause": details["message"]}
    return brief if seconds is None else {**brief, "again_in_seconds": round(seconds, 1)}
