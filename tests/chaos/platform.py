"""The local RunPod, losing jobs as RunPod does.

docs.runpod.io, "Batch jobs": "In the event of a Redis failure, queued batch requests may be lost", which "applies
equally to ``/run``". Such a job is asked for in vain (404); a worker that has it is not told.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

from aiohttp import web
from aiohttp.typedefs import Handler

from comfypod.emulator.platform.faults import PlatformFault
from comfypod.emulator.platform.job import UnknownJob
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.requests import Limits
from comfypod.emulator.runpod import RunPodEmulator
from tests.chaos.plan import Plan

ENDPOINT, KEY = "chaos", "chaos-key"
CREATED_AT_ONCE = 20


class Platform:
    """One endpoint, with as many workers as come."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._random = random.Random(plan.seed)  # noqa: S311 (to be repeatable)
        self.vanished = 0
        self._seen: set[str] = set()
        faults = [
            *plan.faults,
            "drop_stop:times=0",
            f"lose:chance={plan.share_undelivered},times=0,seed={plan.seed}",
            f"duplicate:chance={plan.share_doubled},times=0,seed={plan.seed}",
        ]
        options = PlatformOptions(
            limits=Limits(lost_job_seconds=plan.lost_job_seconds, minimum_ttl_seconds=0.0),
            faults=[PlatformFault.parse(spec) for spec in faults],
        )
        self.emulator = RunPodEmulator(ENDPOINT, KEY, platform=options, middlewares=[self._count])

    @web.middleware
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            if request.path.endswith("/run"):
                self._look_at_new_jobs()

    def _look_at_new_jobs(self) -> None:
        """An answer says nothing of a job whose caller was cut off, so the jobs themselves are looked at."""
        newest = {job["id"] for job in self.emulator.jobs.requests(CREATED_AT_ONCE)["requests"]}
        new = sorted(newest - self._seen)
        self._seen |= newest
        for job_id in new:
            if self._random.random() < self._plan.share_vanished:
                self.vanished += 1
                moment = self._random.uniform(0, 3 * self._plan.gpu_seconds)
                asyncio.get_running_loop().call_later(moment, self._forget, job_id)

    def _forget(self, job_id: str) -> None:
        with suppress(UnknownJob):
            self.emulator.jobs.status(job_id, 1)  # its time to live is over

    @property
    def posts(self) -> int:
        """Jobs that came to be, whether or not their caller heard of it."""
        return len(self._seen)

    def unfinished(self) -> int:
        """Jobs that wait or run."""
        health = self.emulator.jobs.health()["jobs"]
        return int(health["inQueue"]) + int(health["inProgress"])
