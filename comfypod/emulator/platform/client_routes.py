"""What clients call: run, runsync, status, cancel, health (docs.runpod.io, "Operation reference")."""

from __future__ import annotations

from collections.abc import Callable, Collection

from aiohttp import web

from comfypod.emulator.events import log_event
from comfypod.emulator.platform.endpoint import EmulatedEndpoint
from comfypod.emulator.platform.http import Handler, answer, not_emulated, read_body, whole_number
from comfypod.emulator.platform.requests import InvalidRequest, JobRequest, parse_object

# /runsync holds its answer this long unless ?wait= says otherwise (milliseconds, 1000 to 300000).
_RUNSYNC_WAIT_MILLISECONDS = 90_000
_NOT_EMULATED = ("status-sync", "stream", "retry", "purge-queue", "requests", "metrics", "batch", "openai")


class ClientRoutes:
    """The client side of an endpoint; ``worker_ids`` tells which worker processes there are."""

    def __init__(self, endpoint: EmulatedEndpoint, worker_ids: Callable[[], Collection[str]]) -> None:
        self._endpoint = endpoint
        self._jobs = endpoint.jobs
        self._worker_ids = worker_ids

    def table(self) -> dict[str, Handler]:
        """``METHOD /path`` below the endpoint's address, and what answers it."""
        return {
            "POST /run": self._run,
            "POST /runsync": self._runsync,
            "GET /status/{job}": self._status,
            "POST /status/{job}": self._status,  # the Go SDK posts
            "POST /cancel/{job}": self._cancel,
            "GET /health": self._health,
            **{f"* /{name}{{rest:(/.*)?}}": not_emulated for name in _NOT_EMULATED},
        }

    async def _run(self, request: web.Request) -> web.StreamResponse:
        return answer({"id": await self._submit(request, sync=False), "status": "IN_QUEUE"})

    async def _runsync(self, request: web.Request) -> web.StreamResponse:
        milliseconds = whole_number(request, "wait", _RUNSYNC_WAIT_MILLISECONDS)
        if not 1_000 <= milliseconds <= 300_000:
            raise InvalidRequest('"wait" must be from 1000 to 300000 ms.')
        job_id = await self._submit(request, sync=True)
        await self._endpoint.hold(
            milliseconds / 1000, lambda: self._endpoint.is_closing or self._jobs.is_settled(job_id)
        )
        return answer(self._jobs.status(job_id))

    async def _submit(self, request: web.Request, *, sync: bool) -> str:
        body = await read_body(request, self._jobs.limits.bytes_of(sync=sync))
        job = self._jobs.submit(JobRequest.parse(parse_object(body), self._jobs.limits), sync=sync)
        self._endpoint.changed()
        log_event("job_submitted", job_id=job.id, size_bytes=len(body))
        return job.id

    async def _status(self, request: web.Request) -> web.StreamResponse:
        ttl = whole_number(request, "ttl", 0) if "ttl" in request.query else None
        return answer(self._jobs.status(request.match_info["job"], ttl))

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        document = self._jobs.cancel(request.match_info["job"])
        self._endpoint.changed()
        log_event("job_cancelled", job_id=document["id"], status=document["status"])
        return answer(document)

    async def _health(self, _: web.Request) -> web.StreamResponse:
        return answer(self._jobs.health(self._worker_ids()))
