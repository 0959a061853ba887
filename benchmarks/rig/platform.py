"""A local RunPod in a process of its own, which measures the worker from outside.

    python -m benchmarks.rig.platform

Prints one line of JSON, then serves until SIGTERM: ``worker`` is the environment of a worker that speaks to it
directly, ``distant_worker`` that of one behind the `DelayedPath`, ``endpoint`` the address for
clients, ``control`` that of what follows.

- ``POST /jobs``: a list of inputs, queued all at once; answers their ids
- ``GET /jobs/ID``: what was measured of a job, when it has ended, or 204 after a few seconds
- ``PUT /latency``: ``{"round_trip_seconds"}`` of the delayed path
- ``GET /worker``: 200 when a worker has asked for a job, else 204 after a few seconds

Moments are seconds of the machine's monotonic clock, which all its processes share.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from benchmarks.rig.network import DelayedPath
from comfypod.cli.emulate import stop_signal
from comfypod.emulator.platform.job import Document, JobState, UnknownJob
from comfypod.emulator.platform.jobs import EndpointJobs
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.requests import Limits
from comfypod.emulator.runpod import RunPodEmulator

HOLD_SECONDS = 5.0
LOOK_SECONDS = 0.1
LARGEST_BYTES = 1 << 30
WORKER = "worker"


class Stamps:
    """What the platform sees of each job, and when."""

    def __init__(self) -> None:
        self.taken: dict[str, float] = {}
        self.arrived: dict[str, float] = {}
        self.received_bytes: dict[str, int] = defaultdict(int)
        self.worker_is_there = asyncio.Event()
        self.changed = asyncio.Condition()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Stamp what matters; all else passes untouched."""
        parts = request.path.split("/")
        if "job-done" in parts:
            return await self._receive(request, handler, parts[-1])
        if parts[3:4] in (["job-take"], ["job-take-batch"]):
            self.worker_is_there.set()
        return await handler(request)

    def watch(self, jobs: EndpointJobs) -> None:
        """Stamp the jobs that are handed out: before their first byte is sent, so that no worker can be earlier."""
        take = jobs.take

        def stamped(worker_id: str, count: int = 1) -> list[Document]:
            taken = take(worker_id, count)
            now = time.monotonic()
            for job in taken:
                self.taken.setdefault(job["id"], now)
            return taken

        jobs.take = stamped  # type: ignore[method-assign]

    async def _receive(self, request: web.Request, handler: Handler, job_id: str) -> web.StreamResponse:
        """The moment counts at which the body's last byte is here, and not when it has been read as JSON."""
        complete = [time.monotonic()]
        request.content.on_eof(lambda: complete.append(time.monotonic()))
        response = await handler(request)
        self.arrived[job_id] = complete[-1]  # progress comes here, too; the result is the last
        self.received_bytes[job_id] = request.content.total_bytes
        async with self.changed:
            self.changed.notify_all()
        return response


class Platform:
    """The emulator, its stamps, and the routes of the benchmark."""

    def __init__(self) -> None:
        self.stamps = Stamps()
        limits = Limits(run_bytes=LARGEST_BYTES, queue_jobs=1_000_000, run_retention_seconds=120.0)
        options = PlatformOptions(limits=limits, rate_limits=None)
        self.emulator = RunPodEmulator(platform=options, middlewares=[self.stamps.middleware])
        self.stamps.watch(self.emulator.jobs)

    def application(self, path: DelayedPath) -> web.Application:
        """The control's routes."""
        application = web.Application()
        application.add_routes(
            [
                web.post("/jobs", self._submit),
                web.get("/jobs/{job}", self._job),
                web.get("/worker", self._worker),
            ]
        )

        async def latency(request: web.Request) -> web.Response:
            path.round_trip_seconds = float((await request.json())["round_trip_seconds"])
            return web.json_response({})

        application.router.add_put("/latency", latency)
        return application

    async def _submit(self, request: web.Request) -> web.Response:
        return web.json_response(self.emulator.submit(await request.json()))

    async def _worker(self, _: web.Request) -> web.Response:
        with suppress(TimeoutError):
            async with asyncio.timeout(HOLD_SECONDS):
                await self.stamps.worker_is_there.wait()
        return web.json_response({}, status=200 if self.stamps.worker_is_there.is_set() else 204)

    async def _job(self, request: web.Request) -> web.Response:
        job_id = request.match_info["job"]
        try:
            if not await self._ends(job_id):
                return web.Response(status=204)
            return web.json_response(self._measured(job_id))
        except UnknownJob:
            return web.Response(status=404)

    async def _ends(self, job_id: str) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(HOLD_SECONDS):
                while not self.emulator.jobs.is_settled(job_id):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_SECONDS), self.stamps.changed:
                            await self.stamps.changed.wait()
        return self.emulator.jobs.is_settled(job_id)

    def _measured(self, job_id: str) -> dict[str, Any]:
        document = self.emulator.jobs.status(job_id)
        output = document.get("output")
        answer = output if isinstance(output, dict) else {}
        # A handler may tell a failure in its output, which the SDK turns into an error.
        error = document.get("error") or answer.get("error")
        is_right = document["status"] == JobState.COMPLETED and error is None and output
        return {
            "taken": self.stamps.taken.get(job_id),
            "arrived": self.stamps.arrived.get(job_id),
            "received_bytes": self.stamps.received_bytes[job_id],
            "problem": None if is_right else f"{document['status']}: {str(error)[:300]}",
            "timings": answer.get("timings"),
        }


async def serve() -> None:
    """Until SIGTERM."""
    platform = Platform()
    async with platform.emulator as emulator:
        port = int(emulator.base_url.rsplit(":", 1)[1].split("/")[0])
        path = DelayedPath(port)
        await path.start()
        runner = web.AppRunner(platform.application(path), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        near = emulator.worker_environment(WORKER)
        far = {name: value.replace(f":{port}/", f":{path.port}/") for name, value in near.items()}
        control = f"http://127.0.0.1:{runner.addresses[0][1]}"
        endpoint = f"{emulator.base_url}/{emulator.endpoint_id}"
        addresses = {"control": control, "endpoint": endpoint, "worker": near, "distant_worker": far}
        print(json.dumps(addresses), flush=True)
        try:
            await stop_signal().wait()
        finally:
            await path.stop()
            await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve())
