"""What a master works with, all on 127.0.0.1: a local RunPod, workers that do as a test says, and a bucket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from comfypod import Client
from comfypod.emulator.platform.faults import PlatformFault
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.requests import Limits
from comfypod.emulator.runpod import RunPodEmulator
from comfypod.settings import Settings
from comfypod.storage.buckets.bucket import Bucket
from comfypod.storage.commits import Commits, Holder
from tests.chaos.runpod_worker import RunPodWorker
from tests.s3_server import S3Server

API_KEY = "key"
SECONDS = 20.0

Job = Mapping[str, Any]
Answer = Mapping[str, Any]
Do = Callable[["Workers", Job], Awaitable[Answer]]


@dataclass
class Workers:
    """Workers that look for results and leases as ours do, and then do what ``script`` says, or commit a result.

    ``jobs`` has every job that any of them took, ``runs`` those that used the GPU.
    """

    commits: Commits
    script: list[Do] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    runs: list[Job] = field(default_factory=list)
    lease_seconds: float = 30.0

    async def work(self, job: Job) -> Answer:
        self.jobs.append(job)
        do = self.script.pop(0) if self.script else commit
        return await do(self, job)


async def commit(workers: Workers, job: Job) -> Answer:
    """Run the job if nobody has, and commit what it made."""
    key, holder = job["input"]["idempotency_key"], Holder(job["id"], "w")
    committed = await workers.commits.result(key)
    if committed is None:
        held = await workers.commits.acquire(key, holder, workers.lease_seconds)
        if not hasattr(held, "document"):
            return {"output": {"status": "duplicate", "once": {"state": "leased", "job_id": held.job_id}}}
        workers.runs.append(job)
        committed = await workers.commits.commit(key, holder, output_of(key))
        await workers.commits.release(held)
    return {"output": {**committed.output, "once": {"state": "committed", "job_id": committed.job_id}}}


def output_of(key: str) -> dict[str, Any]:
    image = {
        "node_id": "9",
        "index": 0,
        "filename": "fox.png",
        "type": "s3_url",
        "bucket_key": f"once/{key}/files/f.png",
    }
    image |= {"content_type": "image/png", "size_bytes": 3, "sha256": "0" * 64}
    return {"status": "success", "images": [image], "files": [], "texts": [], "timings": {"execute_ms": 7}}


def fails(code: str, sentence: str = "It failed.", *, retryable: bool = False) -> Do:
    """The worker answers with an error of this code."""

    async def do(workers: Workers, job: Job) -> Answer:
        output = {"status": "error", "code": code, "retryable": retryable, "details": {}}
        return {"error": sentence, "output": output}

    return do


async def hold(workers: Workers, job: Job) -> Answer:
    """The worker never ends by itself."""
    await asyncio.Event().wait()
    return {}


@dataclass
class Platform:
    """The endpoint; ``name`` is what a master calls it."""

    emulator: RunPodEmulator
    workers: Workers
    client: Client

    @property
    def base_url(self) -> str:
        return self.emulator.base_url


@asynccontextmanager
async def platform(
    s3_server: S3Server, *faults: str, workers: int = 1, lost_job_seconds: float = 3.0
) -> AsyncIterator[Platform]:
    """A local RunPod with workers."""
    options = PlatformOptions(
        poll_seconds=1.0,
        faults=tuple(map(PlatformFault.parse, faults)),
        limits=Limits(lost_job_seconds=lost_job_seconds),
    )
    bucket = Bucket.from_settings(Settings.from_environment(s3_server.environment))
    assert bucket is not None
    crew = Workers(Commits(bucket))
    async with RunPodEmulator("ep", API_KEY, platform=options) as emulator, aiohttp.ClientSession() as session:
        tasks = [
            asyncio.create_task(RunPodWorker(emulator.worker_environment(f"w{number}"), session, crew.work).run())
            for number in range(workers)
        ]
        try:
            with Client("ep", API_KEY, emulator.base_url) as client:
                yield Platform(emulator, crew, client)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], Any], what: str) -> None:
    """Look until it is so."""
    async with asyncio.timeout(SECONDS):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)
