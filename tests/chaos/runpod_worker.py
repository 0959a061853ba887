"""A worker's side of RunPod's protocol, without the SDK: takes a job at a time, sends heartbeats, stops when told to.

runpod-python 1.12.0, ``runpod/serverless/modules``: ``rp_job.py`` (job-take, job-stop), ``rp_ping.py`` (heartbeats) and
``rp_http.py``, which sends a result up to three times, and then drops it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp

PAUSES_SECONDS = (0.2, 0.3)
"""Before the second and the third try to report a result; the SDK's are ten times as long."""

Work = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""From a job, ``{"id", "input"}``, to what is reported: ``{"output"}``, ``{"error"}`` or both. A stop cancels it."""


class RunPodWorker:
    """One worker; ``run`` serves until it is cancelled."""

    def __init__(self, environment: Mapping[str, str], session: aiohttp.ClientSession, work: Work) -> None:
        self.id = environment["RUNPOD_POD_ID"]
        self._take_url = environment["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", self.id)
        self._stop_url = self._take_url.replace("/job-take/", "/job-stop/")
        self._done_url = environment["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", self.id)
        self._ping_url = environment["RUNPOD_WEBHOOK_PING"].replace("$RUNPOD_POD_ID", self.id)
        self._ping_seconds = int(environment["RUNPOD_PING_INTERVAL"]) / 1000
        self._key = {"Authorization": environment["RUNPOD_AI_API_KEY"]}
        self._session = session
        self._work = work
        self._job_id = ""
        self._running: asyncio.Task[Mapping[str, Any]] | None = None

    async def run(self) -> None:
        """Serve."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ping())
            tasks.create_task(self._stop())
            while True:
                job = await self._get(self._take_url + "&job_in_progress=0")
                if job is not None:
                    await self._serve(job)

    async def _serve(self, job: Mapping[str, Any]) -> None:
        self._job_id = job["id"]
        self._running = asyncio.create_task(self._finish(job))
        await asyncio.wait({self._running})
        self._job_id, running, self._running = "", self._running, None
        if not running.cancelled():
            await self._report(job["id"], running.result())

    async def _finish(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self._work(job)

    async def _report(self, job_id: str, answer: Mapping[str, Any]) -> None:
        url = self._done_url.replace("$ID", job_id) + "&isStream=false"
        for pause_seconds in (*PAUSES_SECONDS, None):
            try:
                async with self._session.post(url, data=json.dumps(answer), headers=self._key) as response:
                    if response.status < 500:
                        return
            except aiohttp.ClientError:
                return  # rp_http.py: connection errors are not tried again
            if pause_seconds is not None:
                await asyncio.sleep(pause_seconds)

    async def _ping(self) -> None:
        while True:
            await self._get(f"{self._ping_url}&job_id={self._job_id}")
            await asyncio.sleep(self._ping_seconds)

    async def _stop(self) -> None:
        while True:
            told = await self._get(self._stop_url)
            if told is not None and self._running is not None and self._job_id in told["jobsToStop"]:
                self._running.cancel()

    async def _get(self, url: str) -> Mapping[str, Any] | None:
        """The document that is answered; None if there is none, or no answer: then after a moment."""
        try:
            async with self._session.get(url, headers=self._key) as response:
                if response.status == 204:
                    return None
                if response.status == 200:
                    document: Mapping[str, Any] = await response.json()
                    return document
        except aiohttp.ClientError:
            pass  # as the SDK: ask again
        await asyncio.sleep(0.1)
        return None
