"""What workers call: job-take, job-done, job-stream, job-stop, ping.

runpod-python 1.12.0, ``runpod/serverless/modules`` (``rp_job.py``, ``rp_http.py``, ``rp_ping.py``, ``rp_scale.py``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web

from comfypod.emulator.events import log_event
from comfypod.emulator.platform.endpoint import EmulatedEndpoint
from comfypod.emulator.platform.http import Handler, answer, is_connected, read_body, refusal, whole_number
from comfypod.emulator.platform.job import Document, JobState, UnknownJob
from comfypod.emulator.platform.requests import InvalidRequest, parse_object


class WorkerRoutes:
    """The worker side of an endpoint; ``replace`` ends a worker that asks for it, and tells whether it could."""

    def __init__(self, endpoint: EmulatedEndpoint, replace: Callable[[str], bool]) -> None:
        self._endpoint = endpoint
        self._jobs = endpoint.jobs
        self._faults = endpoint.faults
        self._replace = replace

    def table(self) -> dict[str, Handler]:
        """``METHOD /path`` below the endpoint's address, and what answers it."""
        return {
            "GET /job-take/{worker}": self._job_take,
            "GET /job-take-batch/{worker}": self._job_take_batch,
            "GET /job-stop/{worker}": self._job_stop,
            "POST /job-done/{worker}/{job}": self._job_done,
            "POST /job-stream/{worker}/{job}": self._job_stream,
            "GET /ping/{worker}": self._ping,
        }

    async def _job_take(self, request: web.Request) -> web.StreamResponse:
        return await self._give_jobs(request, count=1, as_list=False)

    async def _job_take_batch(self, request: web.Request) -> web.StreamResponse:
        count = whole_number(request, "batch_size", 1)
        if count < 1:
            raise InvalidRequest('"batch_size" must be at least 1.')
        return await self._give_jobs(request, count=count, as_list=True)

    async def _give_jobs(self, request: web.Request, *, count: int, as_list: bool) -> web.StreamResponse:
        worker_id = request.match_info["worker"]
        if self._endpoint.take_revival(worker_id):
            return refusal(400, "This worker was frozen, and goes on (FlashBoot). Ask again.")

        def may_take() -> bool:
            is_wanted = not (self._endpoint.is_closing or self._endpoint.is_leaving(worker_id))
            return is_wanted and self._jobs.has_job_for(worker_id) and is_connected(request)

        await self._endpoint.poll(worker_id, may_take)
        jobs = self._take(worker_id, count) if may_take() else []
        if not jobs:
            return web.Response(status=204)
        return await self._hand_over(request, worker_id, jobs, answer(jobs if as_list else jobs[0]))

    def _take(self, worker_id: str, count: int) -> list[Document]:
        """Jobs for the worker, without those that a planned fault loses on the way."""
        jobs = self._jobs.take(worker_id, count)
        self._endpoint.changed()
        return [job for job in jobs if not self._faults.strikes("lose", job_id=job["id"], worker_id=worker_id)]

    async def _hand_over(
        self, request: web.Request, worker_id: str, jobs: list[Document], response: web.Response
    ) -> web.StreamResponse:
        """Send what was taken; what does not get through is the next to be taken."""
        job_ids = [job["id"] for job in jobs]
        try:
            await response.prepare(request)
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            self._jobs.give_back(worker_id, job_ids)
            self._endpoint.changed()
            raise
        for job_id in job_ids:
            log_event("job_taken", job_id=job_id, worker_id=worker_id)
            if self._faults.strikes("duplicate", job_id=job_id, worker_id=worker_id):
                self._jobs.give_again(job_id)
                self._endpoint.changed()
        return response

    async def _job_stop(self, request: web.Request) -> web.StreamResponse:
        worker_id = request.match_info["worker"]
        await self._endpoint.poll(worker_id, lambda: self._jobs.has_stops(worker_id) and is_connected(request))
        told = self._jobs.take_stops(worker_id) if is_connected(request) else []
        if told:
            self._endpoint.changed()
        job_ids = [
            job_id for job_id in told if not self._faults.strikes("drop_stop", job_id=job_id, worker_id=worker_id)
        ]
        if not job_ids:
            return web.Response(status=204)
        log_event("jobs_stopped", worker_id=worker_id, job_ids=job_ids)
        return answer({"jobsToStop": job_ids})

    async def _job_done(self, request: web.Request) -> web.StreamResponse:
        """Progress or a result. The body is JSON, although runpod-python calls it a form.

        A body that breaks off says nothing about the job; one that is complete and refused ends it.
        """
        worker_id, job_id = request.match_info["worker"], request.match_info["job"]
        try:
            body = parse_object(await read_body(request, self._jobs.result_limit_bytes(job_id)))
        except InvalidRequest as error:
            self._jobs.refuse_result(worker_id, job_id)
            self._endpoint.changed()
            log_event("result_refused", logging.WARNING, job_id=job_id, worker_id=worker_id, reason=str(error))
            raise
        if body.get("status") == JobState.IN_PROGRESS:
            self._receive_progress(worker_id, job_id, body)
            return answer({})
        code = self._faults.refusal_code(job_id=job_id, worker_id=worker_id)
        return self._receive_result(worker_id, job_id, body) if code is None else refusal(code, "Planned fault.")

    def _receive_progress(self, worker_id: str, job_id: str, body: Document) -> None:
        if self._faults.strikes("drop_progress", job_id=job_id, worker_id=worker_id):
            return
        seconds = self._faults.progress_delay_seconds(job_id=job_id, worker_id=worker_id)
        if seconds:
            self._endpoint.do_later(seconds, lambda: self._receive_late(worker_id, job_id, body))
        else:
            self._jobs.report(worker_id, job_id, body)
            self._endpoint.changed()

    def _receive_late(self, worker_id: str, job_id: str, body: Document) -> None:
        with suppress(UnknownJob):  # its result may have expired meanwhile
            self._jobs.report(worker_id, job_id, body)
            self._endpoint.changed()

    def _receive_result(self, worker_id: str, job_id: str, body: Document) -> web.Response:
        is_accepted = self._jobs.report(worker_id, job_id, body)
        self._endpoint.changed()
        log_event("job_reported", job_id=job_id, worker_id=worker_id, is_accepted=is_accepted)
        if body.get("stopPod") is True:
            log_event("stop_pod", worker_id=worker_id, is_replaced=self._replace(worker_id))
        return answer({})

    async def _job_stream(self, request: web.Request) -> web.StreamResponse:
        """One value that a generator handler has yielded. What is refused is lost; the job goes on."""
        worker_id, job_id = request.match_info["worker"], request.match_info["job"]
        try:
            body = parse_object(await read_body(request, self._jobs.result_limit_bytes(job_id)))
            self._jobs.add_to_stream(worker_id, job_id, _yielded(body))
        except InvalidRequest as error:
            log_event("chunk_refused", logging.WARNING, job_id=job_id, worker_id=worker_id, reason=str(error))
            raise
        self._endpoint.changed()
        return answer({})

    async def _ping(self, request: web.Request) -> web.StreamResponse:
        worker_id, query = request.match_info["worker"], request.query
        is_unhealthy = query.get("status") == "unhealthy"
        self._jobs.ping(worker_id, query.get("job_id", "").split(","), is_unhealthy=is_unhealthy)
        if is_unhealthy:
            details = {"check": query.get("check", ""), "reason": query.get("reason", "")}
            log_event("worker_unhealthy", logging.ERROR, worker_id=worker_id, **details)
            self._endpoint.changed()
        return answer({})


def _yielded(body: Document) -> object:
    """The value in ``{"output": value}``.

    Raises:
        InvalidRequest: there is none.
    """
    if "output" not in body:
        raise InvalidRequest('A chunk needs an "output".')
    return body["output"]
