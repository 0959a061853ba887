"""The floor: a bare client that speaks RunPod's and ComfyUI's protocols itself, and does nothing else.

    python -m benchmarks.contenders.floor      (in the environment that RunPod gives a worker)

No SDK, no checks, no progress, no retries, nothing cleaned up. Two jobs are in ComfyUI at a time: one runs, the next
waits there. Results leave in the background, in blocks, from the disk to the platform or to S3: nothing is held in
memory. A worker can hardly be faster; it is no worker.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.contenders.signing import Bucket

JOBS_IN_COMFYUI = 2
BLOCK_BYTES = 3 << 16
"""A multiple of three, so that base64 of the blocks is base64 of the whole."""
PING_SECONDS = 5.0
ENDINGS = frozenset({"execution_success", "execution_error", "execution_interrupted"})


@dataclass
class Job:
    """One job in ComfyUI; ``ended`` tells whether it succeeded, ``outputs`` what its nodes have saved."""

    job_id: str
    prompt_id: str
    ended: asyncio.Future[bool]
    outputs: list[Mapping[str, Any]] = field(default_factory=list)


class Floor:
    """One client; ``run`` serves until it is cancelled."""

    def __init__(self, environment: Mapping[str, str], session: aiohttp.ClientSession) -> None:
        self._worker_id = environment["RUNPOD_POD_ID"]
        self._take_url = environment["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", self._worker_id)
        self._stop_url = self._take_url.replace("/job-take/", "/job-stop/")
        self._done_url = environment["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", self._worker_id)
        self._ping_url = environment["RUNPOD_WEBHOOK_PING"].replace("$RUNPOD_POD_ID", self._worker_id)
        self._key = {"Authorization": environment["RUNPOD_AI_API_KEY"]}
        self._comfyui = environment["COMFYUI_URL"]
        self._folder = Path(environment["COMFYUI_OUTPUT_DIRECTORY"])
        self._bucket = Bucket.from_environment(environment)
        self._session = session
        self._client_id = uuid.uuid4().hex
        self._places = asyncio.Semaphore(JOBS_IN_COMFYUI)
        self._jobs: dict[str, Job] = {}

    async def run(self) -> None:
        url = f"{self._comfyui}/ws?clientId={self._client_id}"
        async with self._session.ws_connect(url, max_msg_size=0) as socket, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(socket))
            tasks.create_task(self._ping())
            tasks.create_task(self._stop())
            while True:
                await self._places.acquire()
                job = await self._submit(await self._take())
                tasks.create_task(self._finish(job))

    async def _take(self) -> Mapping[str, Any]:
        while True:
            async with self._session.get(f"{self._take_url}&job_in_progress=0", headers=self._key) as response:
                if response.status == 200:
                    job: Mapping[str, Any] = await response.json()
                    return job

    async def _submit(self, job: Mapping[str, Any]) -> Job:
        body = {"prompt": job["input"]["workflow"], "client_id": self._client_id, "prompt_id": str(uuid.uuid4())}
        mine = Job(job["id"], body["prompt_id"], asyncio.get_running_loop().create_future())
        self._jobs[mine.prompt_id] = mine  # before it is sent: its first messages may come before the answer
        async with self._session.post(f"{self._comfyui}/prompt", json=body) as response:
            response.raise_for_status()
        return mine

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            event = json.loads(message.data)
            job = self._jobs.get(event["data"].get("prompt_id"))
            if job is not None and event["type"] == "executed":
                job.outputs.append(event["data"]["output"] or {})
            elif job is not None and event["type"] in ENDINGS and not job.ended.done():
                job.ended.set_result(event["type"] == "execution_success")
        raise ConnectionError("ComfyUI has closed the connection")

    async def _finish(self, job: Job) -> None:
        """The next job's place is free when this one's prompt has ended; its result leaves beside that."""
        succeeded = await job.ended
        self._places.release()
        files = [self._folder / image["filename"] for output in job.outputs for image in output.get("images", [])]
        url = self._done_url.replace("$ID", job.job_id) + "&isStream=false"
        if not succeeded:
            await self._post(url, json.dumps({"error": "The prompt failed."}))
        elif self._bucket is None:
            await self._post(url, _inline(files))
        else:
            addresses = await asyncio.gather(*(self._upload(self._bucket, job, file) for file in files))
            await self._post(url, json.dumps({"output": {"images": addresses}}))
        del self._jobs[job.prompt_id]

    async def _post(self, url: str, body: str | AsyncIterator[bytes]) -> None:
        async with self._session.post(url, data=body, headers=self._key) as response:
            await response.read()

    async def _upload(self, bucket: Bucket, job: Job, file: Path) -> str:
        key = f"{job.job_id}/{file.name}"
        headers = {**bucket.headers(key), "Content-Length": str(_size(file))}
        async with self._session.put(bucket.address(key), data=_blocks(file), headers=headers) as response:
            response.raise_for_status()
        return bucket.address(key)

    async def _ping(self) -> None:
        while True:
            jobs = ",".join(job.job_id for job in self._jobs.values())
            async with self._session.get(self._ping_url, params={"job_id": jobs}, headers=self._key) as response:
                await response.read()
            await asyncio.sleep(PING_SECONDS)

    async def _stop(self) -> None:
        """Cancelled jobs: taken out of ComfyUI's queue, or interrupted."""
        while True:
            async with self._session.get(self._stop_url, headers=self._key) as response:
                stopped = (await response.json())["jobsToStop"] if response.status == 200 else []
            for job in [job for job in self._jobs.values() if job.job_id in stopped]:
                await self._post_comfyui("/interrupt", {"prompt_id": job.prompt_id})
                await self._post_comfyui("/queue", {"delete": [job.prompt_id]})

    async def _post_comfyui(self, path: str, body: Mapping[str, Any]) -> None:
        async with self._session.post(f"{self._comfyui}{path}", json=body) as response:
            await response.read()


def _size(file: Path) -> int:
    return file.stat().st_size


def _read(file: Path) -> Iterator[bytes]:
    with file.open("rb") as content:
        while block := content.read(BLOCK_BYTES):
            yield block


async def _blocks(file: Path) -> AsyncIterator[bytes]:
    """Read in the event loop: it has just been written, so it is in memory."""
    for block in _read(file):
        yield block


async def _inline(files: list[Path]) -> AsyncIterator[bytes]:
    """``{"output": {"images": ["base64", …]}}``, block by block."""
    yield b'{"output": {"images": ["'
    for index, file in enumerate(files):
        if index:
            yield b'", "'
        async for block in _blocks(file):
            yield base64.b64encode(block)
    yield b'"]}}'


async def main() -> None:
    # What the platform holds must not end by a deadline of the client's.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        await Floor(os.environ, session).run()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(asyncio.run(main()))
