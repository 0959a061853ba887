"""What clients call: every operation of a queue-based endpoint but the batch API and /openai.

docs.runpod.io, "Operation reference" and "Send API requests". /status-sync was documented until September 2025 and is
used by RunPod's own JavaScript and Go clients; /requests and /metrics are not documented.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from aiohttp import web

from comfypod.emulator.events import log_event
from comfypod.emulator.platform.endpoint import EmulatedEndpoint
from comfypod.emulator.platform.http import (
    Handler,
    answer,
    is_answer_lost,
    is_connected,
    not_emulated,
    read_body,
    refusal,
    whole_number,
)
from comfypod.emulator.platform.jobs import RetryRefused
from comfypod.emulator.platform.requests import InvalidRequest, JobRequest, parse_object

# /runsync holds its answer this long unless ?wait= says otherwise; /status-sync too, of which nothing is documented.
_SYNC_WAIT_SECONDS = 90.0
_MOST_LISTED = 1000
_NOT_EMULATED = ("batch", "openai")


class ClientRoutes:
    """The client side of an endpoint; ``worker_states`` tells which worker processes there are, and how they are."""

    def __init__(self, endpoint: EmulatedEndpoint, worker_states: Callable[[], Mapping[str, str]]) -> None:
        self._endpoint = endpoint
        self._jobs = endpoint.jobs
        self._worker_states = worker_states

    def table(self) -> dict[str, Handler]:
        """``METHOD /path`` below the endpoint's address, and what answers it."""
        limited = self._limited
        return {
            "POST /run": limited("run", self._run),
            "POST /runsync": limited("runsync", self._runsync),
            "GET /status/{job}": limited("status", self._status),
            "POST /status/{job}": limited("status", self._status),  # the Go SDK posts
            "GET /status-sync/{job}": limited("status", self._status_sync),
            "POST /status-sync/{job}": limited("status", self._status_sync),
            "GET /stream/{job}": limited("stream", self._stream),
            "POST /stream/{job}": limited("stream", self._stream),
            "POST /cancel/{job}": limited("cancel", self._cancel),
            "POST /retry/{job}": self._retry,
            "POST /purge-queue": limited("purge-queue", self._purge_queue),
            "GET /health": self._health,
            "GET /metrics": self._metrics,
            "GET /requests": limited("requests", self._requests),
            **{f"* /{name}{{rest:(/.*)?}}": not_emulated for name in _NOT_EMULATED},
        }

    def _limited(self, operation: str, handler: Handler) -> Handler:
        async def limited(request: web.Request) -> web.StreamResponse:
            with self._endpoint.rates.admit(operation):
                return await handler(request)

        return limited

    async def _run(self, request: web.Request) -> web.StreamResponse:
        return answer({"id": await self._submit(request, sync=False), "status": "IN_QUEUE"})

    async def _runsync(self, request: web.Request) -> web.StreamResponse:
        seconds = _wait_seconds(request, _SYNC_WAIT_SECONDS)
        return await self._answer_settled(await self._submit(request, sync=True), seconds)

    async def _submit(self, request: web.Request, *, sync: bool) -> str:
        limits = self._jobs.limits
        body = await read_body(request, limits.bytes_of(sync=sync))
        document = parse_object(body)
        job = self._jobs.submit(JobRequest.parse(document, limits), sync=sync, max_workers=self._endpoint.max_workers)
        self._endpoint.changed()
        log_event("job_submitted", job_id=job.id, size_bytes=len(body))
        if document.get("webhookV2"):
            log_event("webhook_v2_ignored", logging.WARNING, job_id=job.id)
        return job.id

    async def _status(self, request: web.Request) -> web.StreamResponse:
        job_id, ttl = request.match_info["job"], None
        if "ttl" in request.query:
            ttl = whole_number(request, "ttl", 0)
        document = self._jobs.status(job_id, ttl)
        if ttl is not None:
            self._endpoint.changed()
        return answer(document)

    async def _status_sync(self, request: web.Request) -> web.StreamResponse:
        job_id, seconds = request.match_info["job"], _wait_seconds(request, _SYNC_WAIT_SECONDS)
        self._jobs.status(job_id)
        return await self._answer_settled(job_id, seconds)

    async def _answer_settled(self, job_id: str, seconds: float) -> web.StreamResponse:
        """The status of a job once it has ended, or after the time."""
        await self._endpoint.hold(seconds, lambda: self._endpoint.is_closing or self._jobs.is_settled(job_id))
        return answer(self._jobs.status(job_id))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """What was yielded since the last call. An answer that does not reach the client is kept for the next."""
        job_id, seconds = request.match_info["job"], _wait_seconds(request, self._jobs.limits.stream_wait_seconds)
        self._jobs.status(job_id)

        def is_due() -> bool:
            return self._endpoint.is_closing or self._jobs.has_stream(job_id) or self._jobs.is_settled(job_id)

        await self._endpoint.hold(seconds, is_due)
        chunks = self._jobs.drain_stream(job_id) if is_connected(request) else []
        stream = [{"output": chunk} for chunk in chunks]
        document = {"status": self._jobs.status(job_id)["status"], "stream": stream}
        response = answer(stream if self._jobs.switches.stream_answer == "array" else document)
        self._endpoint.changed()
        if is_answer_lost(request):
            return response  # and the chunks with it: nobody can tell that it did not arrive
        try:
            await response.prepare(request)
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            self._jobs.return_to_stream(job_id, chunks)
            self._endpoint.changed()
            raise
        return response

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        document = self._jobs.cancel(request.match_info["job"])
        self._endpoint.changed()
        log_event("job_cancelled", job_id=document["id"], status=document["status"])
        return answer(document)

    async def _retry(self, request: web.Request) -> web.StreamResponse:
        try:
            document = self._jobs.retry(request.match_info["job"])
        except RetryRefused as error:
            return refusal(int(self._jobs.switches.refused_retry), str(error))
        self._endpoint.changed()
        log_event("job_retried", job_id=document["id"])
        return answer(document)

    async def _purge_queue(self, _: web.Request) -> web.StreamResponse:
        document = self._jobs.purge()
        self._endpoint.changed()
        log_event("queue_purged", removed=document["removed"])
        return answer(document)

    async def _health(self, _: web.Request) -> web.StreamResponse:
        return answer(self._jobs.health(self._worker_states()))

    async def _metrics(self, _: web.Request) -> web.StreamResponse:
        return answer(self._jobs.metrics(self._worker_states()))

    async def _requests(self, request: web.Request) -> web.StreamResponse:
        if self._jobs.switches.requests == "missing":
            return refusal(404, "This endpoint does not list its requests (switch requests=missing).")
        count = whole_number(request, "limit", 100)
        if not 1 <= count <= _MOST_LISTED:
            raise InvalidRequest(f'"limit" must be from 1 to {_MOST_LISTED}.')
        return answer(self._jobs.requests(count))


def _wait_seconds(request: web.Request, default_seconds: float) -> float:
    """``?wait=`` of 1000 to 300000 ms, as documented for /runsync.

    Raises:
        InvalidRequest: it is no number, or outside that range.
    """
    if "wait" not in request.query:
        return default_seconds
    milliseconds = whole_number(request, "wait", 0)
    if not 1_000 <= milliseconds <= 300_000:
        raise InvalidRequest('"wait" must be from 1000 to 300000 ms.')
    return milliseconds / 1000
