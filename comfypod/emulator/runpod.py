"""A local RunPod endpoint: what clients and the unmodified runpod-python 1.12.0 worker see of the platform, over HTTP.

It has queue, states, limits, cancellation, timeouts, lost workers and ``stopPod``. What it does not have yet answers
501 and says so. It must not know ComfyUI, nor anything else about what the jobs do.

Client side: docs.runpod.io, "Operation reference" and "Send API requests". Worker side: runpod-python,
``runpod/serverless/modules`` (``rp_job.py``, ``rp_http.py``, ``rp_ping.py``, ``rp_scale.py``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from aiohttp import web

from comfypod.emulator.runpod_http import (
    Bell,
    Handler,
    UnknownEndpoint,
    answer,
    errors_as_json,
    is_connected,
    is_same_key,
    not_emulated,
    reachable_url,
    read_body,
    refusal,
    whole_number,
)
from comfypod.emulator.runpod_jobs import EndpointJobs
from comfypod.emulator.runpod_requests import InvalidRequest, JobRequest, Limits, parse_object
from comfypod.emulator.runpod_workers import WorkerPool, log_event

_SWEEP_SECONDS = 0.1
# /runsync holds its answer this long unless ?wait= says otherwise (milliseconds, 1000 to 300000).
_RUNSYNC_WAIT_MILLISECONDS = 90_000
# runpod-python polls again without a pause after an empty answer or an error, thousands of times a second; an answer
# that cannot be held for long is held for this long.
_SHORT_HOLD_SECONDS = 0.1
_REFUSAL_HOLD_SECONDS = 1.0
_STOP_JOBS_SECONDS = 1.5
_NOT_EMULATED_CLIENT = ("status-sync", "stream", "retry", "purge-queue", "requests", "metrics", "batch", "openai")


class RunPodEmulator:
    """One endpoint on a port of this machine, and, if a ``worker_command`` is given, its worker processes.

    Use it as an asynchronous context manager, or call `start` and, whatever happens, `stop`. A client needs `base_url`,
    the endpoint's id and the key; a worker needs `worker_environment`.
    """

    def __init__(
        self,
        endpoint_id: str = "local",
        api_key: str = "local",
        *,
        limits: Limits | None = None,
        poll_seconds: float = 10.0,
        ping_interval_seconds: int = 5,
        worker_command: Sequence[str] = (),
        worker_count: int = 1,
        worker_directory: Path | None = None,
        worker_log: Path | None = None,
        stop_seconds: float = 5.0,
    ) -> None:
        self.endpoint_id = endpoint_id
        self.api_key = api_key
        # RunPod gives workers a key of their own; clients' routes refuse it and the other way round.
        self.worker_key = f"worker-{api_key}"
        self.jobs = EndpointJobs(time.monotonic, limits)
        self.pool: WorkerPool | None = None
        self._poll_seconds = poll_seconds
        self._ping_interval_seconds = max(1, ping_interval_seconds)  # below 1 s runpod-python's heartbeat crashes
        if worker_command:
            self.pool = WorkerPool(
                self,
                worker_command,
                count=worker_count,
                directory=worker_directory,
                log=worker_log,
                stop_seconds=stop_seconds,
            )
        self._changed = Bell()
        self._released: set[str] = set()
        self._is_closing = False  # no job is given out any more
        self._is_closed = False  # every held request is answered
        self._runner: web.AppRunner | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._base_url = ""

    @property
    def base_url(self) -> str:
        """``http://HOST:PORT/v2``, what a client has for ``https://api.runpod.ai/v2``.

        Raises:
            RuntimeError: `start` has not been called.
        """
        if not self._base_url:
            raise RuntimeError("The RunPod emulator has no address before it is started.")
        return self._base_url

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen, and start the workers in the background. Port 0 means any free port.

        Raises:
            OSError: the port is taken, or the worker's command was not found.
        """
        # A handler whose client has gone away is cancelled: it would wait for nobody, and could lose a job to nobody.
        runner = web.AppRunner(
            self._application(), handler_cancellation=True, access_log=None, shutdown_timeout=_STOP_JOBS_SECONDS
        )
        self._runner = runner
        self._is_closing = self._is_closed = False
        try:
            await runner.setup()
            await web.TCPSite(runner, host, port).start()
            self._base_url = reachable_url(*runner.addresses[0][:2])
            self._sweeper = asyncio.create_task(self._sweep_forever())
            if self.pool is not None:
                self.pool.start()
        except BaseException:
            await self.stop()
            raise
        log_event("runpod_emulator_started", base_url=self.base_url, endpoint_id=self.endpoint_id)

    async def stop(self) -> None:
        """End the workers, answer every held request, and close the port. May be called twice."""
        self._is_closing = True
        try:
            if self.pool is not None:
                await self.pool.stop()
        finally:
            self._is_closed = True
            self._changed.ring()
            sweeper, self._sweeper = self._sweeper, None
            if sweeper is not None:
                sweeper.cancel()
            runner, self._runner = self._runner, None
            if runner is not None:
                await runner.cleanup()

    def worker_environment(self, worker_id: str) -> dict[str, str]:
        """What a worker process needs to serve this endpoint; for a pool's worker it is set already.

        ``$ID`` and ``$RUNPOD_POD_ID`` stay as they are: runpod-python puts the worker's and the job's ids there. The
        ``?gpu=`` is needed, because it appends ``&name=value``. The automatic checks are off, since one of them needs
        the internet.
        """
        endpoint = f"{self.base_url}/{self.endpoint_id}"
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{endpoint}/job-take/$ID?gpu=EMULATED",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{endpoint}/job-done/$RUNPOD_POD_ID/$ID?gpu=EMULATED",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{endpoint}/job-stream/$RUNPOD_POD_ID/$ID?gpu=EMULATED",
            "RUNPOD_WEBHOOK_PING": f"{endpoint}/ping/$RUNPOD_POD_ID?gpu=EMULATED",
            "RUNPOD_PING_INTERVAL": str(self._ping_interval_seconds * 1000),
            "RUNPOD_POD_ID": worker_id,
            "RUNPOD_ENDPOINT_ID": self.endpoint_id,
            "RUNPOD_AI_API_KEY": self.worker_key,
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true",
        }

    # What the pool needs (`WorkerHost`).

    async def stop_jobs(self, worker_id: str) -> None:
        """Tell the worker to stop its running jobs; return when it has heard it, or after a short deadline."""
        self.jobs.stop_all_of(worker_id)
        self._changed.ring()
        await self._hold(_STOP_JOBS_SECONDS, lambda: not self.jobs.has_stops(worker_id))

    def release(self, worker_id: str) -> None:
        """Answer the worker's held polls, so that its loops see that they were told to end; give it no more jobs."""
        self._released.add(worker_id)
        self._changed.ring()

    def forget(self, worker_id: str) -> None:
        """The worker's process is gone. Its jobs are lost when their time is up, as on the platform."""
        self._released.discard(worker_id)
        self.jobs.forget_worker(worker_id)

    # Routes and who may use them.

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[errors_as_json])
        client = {
            "POST /run": self._run,
            "POST /runsync": self._runsync,
            "GET /status/{job}": self._status,
            "POST /status/{job}": self._status,  # the Go SDK posts
            "POST /cancel/{job}": self._cancel,
            "GET /health": self._health,
            **{f"* /{name}{{rest:(/.*)?}}": not_emulated for name in _NOT_EMULATED_CLIENT},
        }
        worker = {
            "GET /job-take/{worker}": self._job_take,
            "GET /job-take-batch/{worker}": self._job_take_batch,
            "GET /job-stop/{worker}": self._job_stop,
            "POST /job-done/{worker}/{job}": self._job_done,
            "POST /job-stream/{worker}/{job}": not_emulated,
            "GET /ping/{worker}": self._ping,
        }
        for routes, guard in ((client, self._for_client), (worker, self._for_worker)):
            for route, handler in routes.items():
                method, path = route.split(" ", 1)
                application.router.add_route(method, "/v2/{endpoint}" + path, guard(handler))
        return application

    def _for_client(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if not is_same_key(request.headers.get("Authorization", "").removeprefix("Bearer "), self.api_key):
                return refusal(401, "The API key is missing or wrong.")
            self._check_endpoint(request)
            return await handler(request)

        return guarded

    def _for_worker(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            worker_id = request.match_info["worker"]
            if not self._is_worker(worker_id, request.headers.get("Authorization", "")):
                log_event("worker_refused", logging.WARNING, worker_id=worker_id)
                await asyncio.sleep(_REFUSAL_HOLD_SECONDS)
                return refusal(401, "The worker's key is wrong. The one in ~/.runpod/config.toml, if any, wins.")
            self._check_endpoint(request)
            self.jobs.hear(worker_id)
            return await handler(request)

        return guarded

    def _is_worker(self, worker_id: str, key: str) -> bool:
        """Whether a worker may speak under this id.

        A worker of the pool may with any key: runpod-python prefers the key in ~/.runpod/config.toml to the one it was
        started with, and only such a worker knows its id, which is random.
        """
        return is_same_key(key, self.worker_key) or (self.pool is not None and worker_id in self.pool.workers)

    def _check_endpoint(self, request: web.Request) -> None:
        if request.match_info["endpoint"] != self.endpoint_id:
            name = request.match_info["endpoint"]
            raise UnknownEndpoint(f"There is no endpoint {name}; this emulator has {self.endpoint_id}.")

    # The client side.

    async def _run(self, request: web.Request) -> web.StreamResponse:
        return answer({"id": await self._submit(request, sync=False), "status": "IN_QUEUE"})

    async def _runsync(self, request: web.Request) -> web.StreamResponse:
        milliseconds = whole_number(request, "wait", _RUNSYNC_WAIT_MILLISECONDS)
        if not 1_000 <= milliseconds <= 300_000:
            raise InvalidRequest('"wait" must be from 1000 to 300000 ms.')
        job_id = await self._submit(request, sync=True)
        await self._hold(milliseconds / 1000, lambda: self._is_closing or self.jobs.is_settled(job_id))
        return answer(self.jobs.status(job_id))

    async def _submit(self, request: web.Request, *, sync: bool) -> str:
        body = await read_body(request, self.jobs.limits.bytes_of(sync=sync))
        job = self.jobs.submit(JobRequest.parse(parse_object(body), self.jobs.limits), sync=sync)
        self._changed.ring()
        log_event("job_submitted", job_id=job.id, size_bytes=len(body))
        return job.id

    async def _status(self, request: web.Request) -> web.StreamResponse:
        ttl = whole_number(request, "ttl", 0) if "ttl" in request.query else None
        return answer(self.jobs.status(request.match_info["job"], ttl))

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        document = self.jobs.cancel(request.match_info["job"])
        self._changed.ring()
        log_event("job_cancelled", job_id=document["id"], status=document["status"])
        return answer(document)

    async def _health(self, _: web.Request) -> web.StreamResponse:
        return answer(self.jobs.health(self.pool.workers if self.pool is not None else ()))

    # The worker side.

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
            is_wanted = not (self._is_closing or self._is_leaving(worker_id))
            return is_wanted and self.jobs.has_queued() and is_connected(request)

        await self._poll(worker_id, may_take)
        if not may_take():
            return web.Response(status=204)
        jobs = self.jobs.take(worker_id, count)
        job_ids = [job["id"] for job in jobs]
        response = answer(jobs if as_list else jobs[0])
        try:
            await response.prepare(request)
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            self.jobs.give_back(worker_id, job_ids)
            self._changed.ring()
            raise
        for job_id in job_ids:
            log_event("job_taken", job_id=job_id, worker_id=worker_id)
        return response

    async def _job_stop(self, request: web.Request) -> web.StreamResponse:
        worker_id = request.match_info["worker"]
        await self._poll(worker_id, lambda: self.jobs.has_stops(worker_id) and is_connected(request))
        job_ids = self.jobs.take_stops(worker_id) if is_connected(request) else []
        if not job_ids:
            return web.Response(status=204)
        self._changed.ring()
        log_event("jobs_stopped", worker_id=worker_id, job_ids=job_ids)
        return answer({"jobsToStop": job_ids})

    async def _job_done(self, request: web.Request) -> web.StreamResponse:
        """Progress or a result. The body is JSON, although runpod-python calls it a form.

        A body that breaks off says nothing about the job; one that is complete and refused ends it.
        """
        worker_id, job_id = request.match_info["worker"], request.match_info["job"]
        try:
            body = parse_object(await read_body(request, self.jobs.result_limit_bytes(job_id)))
        except InvalidRequest as error:
            self.jobs.refuse_result(worker_id, job_id)
            self._changed.ring()
            log_event("result_refused", logging.WARNING, job_id=job_id, worker_id=worker_id, reason=str(error))
            raise
        is_accepted = self.jobs.report(worker_id, job_id, body)
        self._changed.ring()
        if body.get("status") != "IN_PROGRESS":
            log_event("job_reported", job_id=job_id, worker_id=worker_id, is_accepted=is_accepted)
        if body.get("stopPod") is True:
            self._stop_pod(worker_id)
        return answer({})

    def _stop_pod(self, worker_id: str) -> None:
        is_replaced = self.pool is not None and self.pool.replace(worker_id)
        log_event("stop_pod", worker_id=worker_id, is_replaced=is_replaced)

    async def _ping(self, request: web.Request) -> web.StreamResponse:
        worker_id, query = request.match_info["worker"], request.query
        is_unhealthy = query.get("status") == "unhealthy"
        self.jobs.ping(worker_id, query.get("job_id", "").split(","), is_unhealthy=is_unhealthy)
        if is_unhealthy:
            details = {"check": query.get("check", ""), "reason": query.get("reason", "")}
            log_event("worker_unhealthy", logging.ERROR, worker_id=worker_id, **details)
        return answer({})

    # Waiting.

    def _is_leaving(self, worker_id: str) -> bool:
        return self._is_closed or worker_id in self._released

    async def _poll(self, worker_id: str, is_due: Callable[[], bool]) -> None:
        """Hold a worker's request until there is something for it; that of an ending worker only for a moment."""
        if self._is_leaving(worker_id):
            await asyncio.sleep(_SHORT_HOLD_SECONDS)
        else:
            await self._hold(self._poll_seconds, lambda: is_due() or self._is_leaving(worker_id))
        self.jobs.hear(worker_id)

    async def _hold(self, seconds: float, is_due: Callable[[], bool]) -> None:
        """Return as soon as ``is_due``, which is asked after every change, or after ``seconds``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not is_due():
                    await self._changed.wait()

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            if self.jobs.sweep():
                self._changed.ring()
