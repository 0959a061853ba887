"""``runpod.AsyncioEndpoint`` and its jobs, to be told what to do (`clients.ClientProcess`)."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import runpod
from answering import answer_with, answer_with_error
from runpod import AsyncioEndpoint, AsyncioJob


class AsyncioSdkClient:
    """The operations, each as a user of the SDK would write it."""

    endpoint: AsyncioEndpoint

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._jobs: dict[str, AsyncioJob] = {}

    async def use(self, base_url: str, endpoint_id: str, api_key: str) -> None:
        runpod.endpoint_url_base = base_url
        self.endpoint = AsyncioEndpoint(endpoint_id, self._session, api_key)

    async def run(self, body: dict[str, Any]) -> str:
        """``AsyncioEndpoint.run`` takes an input and nothing else: a policy or a webhook needs a request of our own."""
        if set(body) == {"input"}:
            job = await self.endpoint.run(body["input"])
            self._jobs[job.job_id] = job
            return job.job_id
        answer = await self._request("POST", self.endpoint.endpoint_url, body)
        return self._follow(answer["id"])

    async def run_with_fields(self, body: dict[str, Any]) -> str:
        """What somebody does who takes ``run`` for that of ``runpod.Endpoint``."""
        job = await self.endpoint.run(body)
        self._jobs[job.job_id] = job
        return job.job_id

    async def run_sync(self, body: dict[str, Any]) -> Any:
        """``AsyncioEndpoint`` has none."""
        return (await self._operation("POST", "runsync", body))["output"]

    async def status(self, job_id: str) -> str:
        return await self._jobs[job_id].status()

    async def document(self, job_id: str) -> Any:
        return await self._operation("GET", f"status/{job_id}")

    async def output(self, job_id: str) -> Any:
        return await self._jobs[job_id].output()

    async def result(self, job_id: str) -> Any:
        return await self._jobs[job_id].output(timeout=20)

    async def stream(self, job_id: str, go: str) -> list[Any]:
        chunks = []
        async for chunk in self._jobs[job_id].stream():
            chunks.append(chunk)
            Path(go).touch()
        return chunks

    async def cancel(self, job_id: str) -> Any:
        return await self._jobs[job_id].cancel()

    async def retry(self, job_id: str) -> Any:
        """The SDK has no retry, and a job object keeps its first end: it takes a new one to follow the job again."""
        answer = await self._operation("POST", f"retry/{job_id}")
        self._follow(job_id)
        return answer

    async def purge_queue(self) -> Any:
        return await self.endpoint.purge_queue()

    async def health(self) -> Any:
        return await self.endpoint.health()

    def _follow(self, job_id: str) -> str:
        self._jobs[job_id] = AsyncioJob(self.endpoint.endpoint_id, job_id, self._session, self.endpoint.headers)
        return job_id

    async def _operation(self, method: str, path: str, body: Any = None) -> Any:
        address = f"{self.endpoint.endpoint_url_base}/{self.endpoint.endpoint_id}/{path}"
        return await self._request(method, address, body)

    async def _request(self, method: str, address: str, body: Any) -> Any:
        async with self._session.request(method, address, json=body, headers=self.endpoint.headers) as response:
            response.raise_for_status()
            return await response.json()


async def main() -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=25)) as session:
        client = AsyncioSdkClient(session)
        while line := await asyncio.to_thread(sys.stdin.readline):
            operation, *arguments = json.loads(line)
            try:
                answer_with(await getattr(client, operation)(*arguments))
            except Exception as error:  # noqa: BLE001 (what the SDK raises is what the tests ask for)
                answer_with_error(error)


if __name__ == "__main__":
    asyncio.run(main())
