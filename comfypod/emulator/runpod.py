"""A local RunPod endpoint: what clients and the unmodified runpod-python 1.12.0 worker see of the platform, over HTTP.

The endpoint and its jobs are `comfypod.emulator.platform`, its worker processes `comfypod.emulator.fleet`; here they
are put together and served. It must not know ComfyUI, nor anything else about what the jobs do.

Client side: docs.runpod.io, "Operation reference" and "Send API requests". Worker side: runpod-python,
``runpod/serverless/modules`` (``rp_job.py``, ``rp_http.py``, ``rp_ping.py``, ``rp_scale.py``).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Self

from aiohttp import web
from aiohttp.typedefs import Middleware

from comfypod.emulator.events import log_event
from comfypod.emulator.fleet.fleet import Fleet, tell_failure
from comfypod.emulator.fleet.host import WorkerActivity
from comfypod.emulator.fleet.options import FleetOptions
from comfypod.emulator.fleet.report import fleet_document
from comfypod.emulator.platform.application import Identity, PlatformApplication
from comfypod.emulator.platform.endpoint import EmulatedEndpoint
from comfypod.emulator.platform.http import reachable_url
from comfypod.emulator.platform.jobs import Demand, EndpointJobs
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.requests import JobRequest, Limits

_STOP_JOBS_SECONDS = 1.5
_PING_SECONDS = 5
_ENDPOINT_ID = re.compile(r"[A-Za-z0-9_-]+")
# What a header can hold as it is; a key of nothing would let everybody in.
_KEY = re.compile(r"[!-~]+")


class RunPodEmulator:
    """One endpoint on a port of this machine, and, if ``fleet`` is given, its worker processes.

    Use it as an asynchronous context manager, or call `start` and, whatever happens, `stop`. A client needs `base_url`,
    the endpoint's id and the key; a worker needs `worker_environment`.

    Workers send a heartbeat every ``ping_interval_seconds``; None: every 5 s, or more often if the limits give up a
    silent job or worker too soon for that. Their key tells the clients' key, unless ``worker_key`` is another.
    ``middlewares`` see every request first, so that somebody can measure what workers do.

    Raises:
        ValueError: the endpoint's id cannot stand in an address, or the key not in a header.
    """

    def __init__(
        self,
        endpoint_id: str = "local",
        api_key: str = "local",
        *,
        platform: PlatformOptions | None = None,
        fleet: FleetOptions | None = None,
        ping_interval_seconds: int | None = None,
        worker_key: str | None = None,
        middlewares: Sequence[Middleware] = (),
    ) -> None:
        _check(endpoint_id, api_key)
        self.endpoint_id = endpoint_id
        self.api_key = api_key
        # RunPod gives workers a key of their own; clients' routes refuse it and the other way round.
        self.worker_key = f"worker-{api_key}" if worker_key is None else worker_key
        self._endpoint = EmulatedEndpoint(platform, max_workers=fleet.max_workers if fleet is not None else None)
        self._application = PlatformApplication(
            self._endpoint,
            Identity(endpoint_id, api_key, self.worker_key),
            self._worker_states,
            self._replace,
            self.overview,
            middlewares=middlewares,
        )
        self.fleet: Fleet | None = Fleet(self, fleet) if fleet is not None else None
        wanted = _ping_seconds(self.jobs.limits) if ping_interval_seconds is None else ping_interval_seconds
        self._ping_interval_seconds = max(1, wanted)  # below 1 s runpod-python's heartbeat crashes
        self._runner: web.AppRunner | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._base_url = ""
        self._started = time.monotonic()

    @property
    def jobs(self) -> EndpointJobs:
        """The endpoint's jobs."""
        return self._endpoint.jobs

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
            self._application.build(), handler_cancellation=True, access_log=None, shutdown_timeout=_STOP_JOBS_SECONDS
        )
        self._runner = runner
        try:
            await runner.setup()
            await web.TCPSite(runner, host, port).start()
            self._base_url = reachable_url(*runner.addresses[0][:2])
            self._started = time.monotonic()
            self._sweeper = asyncio.create_task(self._endpoint.sweep_forever())
            self._sweeper.add_done_callback(tell_failure)
            if self.fleet is not None:
                self.fleet.start()
        except BaseException:
            await self.stop()
            raise
        log_event("runpod_emulator_started", base_url=self.base_url, endpoint_id=self.endpoint_id)

    async def stop(self) -> None:
        """End the workers, answer every held request, and close the port. May be called twice."""
        self._endpoint.is_closing = True
        try:
            if self.fleet is not None:
                await self.fleet.stop()
        finally:
            self._endpoint.close()
            sweeper, self._sweeper = self._sweeper, None
            if sweeper is not None:
                sweeper.cancel()
            runner, self._runner = self._runner, None
            if runner is not None:
                await runner.cleanup()

    def submit(self, inputs: Iterable[Any]) -> list[str]:
        """Queue jobs with these inputs, all of them before a worker hears of the first; their ids.

        Raises:
            InvalidRequest: an input is None.
        """
        requests = [JobRequest.parse({"input": value}, self.jobs.limits) for value in inputs]
        job_ids = [self.jobs.submit(request).id for request in requests]
        self._endpoint.changed()
        return job_ids

    def overview(self) -> dict[str, Any]:
        """What GET /emulator/state answers: the queue, the jobs, the workers and what they cost."""
        return {
            "emulated": True,
            "endpoint_id": self.endpoint_id,
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            **self._endpoint.overview(),
            **fleet_document(self.fleet),
        }

    def worker_environment(self, worker_id: str) -> dict[str, str]:
        """What a worker process needs to serve this endpoint; for one of the fleet it is set already.

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

    # What the fleet needs (`WorkerHost`).

    def demand(self) -> Demand:
        """How much there is to do."""
        return self.jobs.demand()

    def activity(self, worker_ids: Collection[str]) -> Mapping[str, WorkerActivity]:
        """What these workers do; one with a job is among them however silent it is: the job may keep it busy."""
        heard, unhealthy = set(self.jobs.workers()), self.jobs.unhealthy_workers()
        found = {}
        for worker_id in worker_ids:
            job_ids = tuple(self.jobs.jobs_of(worker_id))
            if job_ids or worker_id in heard:
                found[worker_id] = WorkerActivity(job_ids, worker_id in unhealthy)
        return found

    async def stop_jobs(self, worker_id: str) -> None:
        """Tell the worker to stop its running jobs; return when it has heard it, or after a short deadline."""
        self.jobs.stop_all_of(worker_id)
        self._endpoint.changed()
        await self._endpoint.hold(_STOP_JOBS_SECONDS, lambda: not self.jobs.has_stops(worker_id))

    def release(self, worker_id: str) -> None:
        """Answer the worker's held polls, so that its loops see that they were told to end; give it no more jobs."""
        self._endpoint.release(worker_id)

    def revive(self, worker_id: str) -> None:
        """Have the frozen worker's next job-take refused once, as FlashBoot does, and then give it jobs again."""
        self._endpoint.forget(worker_id)  # until it is heard of again
        self._endpoint.revive(worker_id)

    def forget(self, worker_id: str) -> None:
        """The worker's process is gone."""
        self._endpoint.forget(worker_id)

    def _worker_states(self) -> Mapping[str, str]:
        return self.fleet.states() if self.fleet is not None else {}

    def _replace(self, worker_id: str) -> bool:
        return self.fleet is not None and self.fleet.replace(worker_id)


def _check(endpoint_id: str, api_key: str) -> None:
    if not _ENDPOINT_ID.fullmatch(endpoint_id):
        raise ValueError(f"The endpoint's id must be of letters, digits, - and _, not {endpoint_id!r}.")
    if not _KEY.fullmatch(api_key):
        raise ValueError("The API key must be of ASCII letters, digits and signs, at least one; choose another.")


def _ping_seconds(limits: Limits) -> int:
    """Often enough for three heartbeats before a job counts as lost, or its worker as gone."""
    return min(_PING_SECONDS, int(min(limits.lost_job_seconds, limits.silent_worker_seconds) / 3))
