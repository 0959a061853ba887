"""What workers call: job-take, job-done, job-stop, ping.

runpod-python 1.12.0, ``runpod/serverless/modules`` (``rp_job.py``, ``rp_http.py``, ``rp_ping.py``, ``rp_scale.py``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp import web

from comfypod.emulator.events import log_event
from comfypod.emulator.platform.endpoint import EmulatedEndpoint
from comfypod.emulator.platform.http import Handler, answer, is_connected, not_emulated, read_body, whole_number
from comfypod.emulator.platform.requests import InvalidRequest, parse_object


class WorkerRoutes:
    """The worker side of an endpoint; ``replace`` ends a worker that asks for it, and tells whether it could."""

    def __init__(self, endpoint: EmulatedEndpoint, replace: Callable[[str], bool]) -> None:
        self._endpoint = endpoint
        self._jobs = endpoint.jobs
        self._replace = replace

    def table(self) -> dict[str, Handler]:
        """``METHOD /path`` below the endpoint's address, and what answers it."""
        return {
            "GET /job-take/{worker}": self._job_take,
            "GET /job-take-batch/{worker}": self._job_take_batch,
            "GET /job-stop/{worker}": self._job_stop,
            "POST /job-done/{worker}/{job}": self._job_done,
            "POST /job-stream/{worker}/{job}": not_emulated,
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

        def may_take() -> bool:
            is_wanted = not (self._endpoint.is_closing or self._endpoint.is_leaving(worker_id))
            return is_wanted and self._jobs.has_queued() and is_connected(request)

        await self._endpoint.poll(worker_id, may_take)
        if not may_take():
            return web.Response(status=204)
        jobs = self._jobs.take(worker_id, count)
        job_ids = [job["id"] for job in jobs]
        response = answer(jobs if as_list else jobs[0])
        try:
            await response.prepare(request)
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            self._jobs.give_back(worker_id, job_ids)
            self._endpoint.changed()
            raise
        for job_id in job_ids:
            log_event("job_taken", job_id=job_id, worker_id=worker_id)
        return response

    async def _job_stop(self, request: web.Request) -> web.StreamResponse:
        worker_id = request.match_info["worker"]
        await self._endpoint.poll(worker_id, lambda: self._jobs.has_stops(worker_id) and is_connected(request))
        job_ids = self._jobs.take_stops(worker_id) if is_connected(request) else []
        if not job_ids:
            return web.Response(status=204)
        self._endpoint.changed()
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
        is_accepted = self._jobs.report(worker_id, job_id, body)
        self._endpoint.changed()
        if body.get("status") != "IN_PROGRESS":
            log_event("job_reported", job_id=job_id, worker_id=worker_id, is_accepted=is_accepted)
        if body.get("stopPod") is True:
            log_event("stop_pod", worker_id=worker_id, is_replaced=self._replace(worker_id))
        return answer({})

    async def _ping(self, request: web.Request) -> web.StreamResponse:
        worker_id, query = request.match_info["worker"], request.query
        is_unhealthy = query.get("status") == "unhealthy"
        self._jobs.ping(worker_id, query.get("job_id", "").split(","), is_unhealthy=is_unhealthy)
        if is_unhealthy:
            details = {"check": query.get("check", ""), "reason": query.get("reason", "")}
            log_event("worker_unhealthy", logging.ERROR, worker_id=worker_id, **details)
        return answer({})
