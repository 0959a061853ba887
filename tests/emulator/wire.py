"""Both sides of a local RunPod over raw HTTP, as the tests of its wire speak them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

FORM = {"Content-Type": "application/x-www-form-urlencoded", "charset": "utf-8"}
"""What runpod-python calls its JSON."""


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 5.0) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(seconds):
        while True:
            outcome = condition()
            if outcome if isinstance(outcome, bool) else await outcome:
                return
            await asyncio.sleep(0.01)


class Wire:
    """A client and workers of one endpoint named ``local``; ``address`` is the server's, without ``/v2``."""

    def __init__(self, address: str, worker_key: str, session: aiohttp.ClientSession) -> None:
        self.address = address
        self.worker_key = worker_key
        self.session = session

    async def send(self, method: str, path: str, key: str | None = "Bearer local", **options: Any) -> tuple[int, Any]:
        """The status and the document that answer a request; ``path`` is the whole one."""
        headers = {**options.pop("headers", {}), **({"Authorization": key} if key is not None else {})}
        async with self.session.request(method, f"{self.address}{path}", headers=headers, **options) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None

    async def client(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        return await self.send(method, f"/v2/local{path}", **options)

    async def worker(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        return await self.send(method, f"/v2/local{path}", self.worker_key, **options)

    async def submit(self, **body: Any) -> str:
        """Queue a job; the answer is its id."""
        code, answer = await self.client("POST", "/run", json={"input": {"n": 1}, **body})
        assert (code, answer["status"]) == (200, "IN_QUEUE"), answer
        return answer["id"]

    async def status(self, job_id: str) -> dict[str, Any]:
        code, answer = await self.client("GET", f"/status/{job_id}")
        assert code == 200, answer
        return answer

    async def state(self, job_id: str) -> str:
        return (await self.status(job_id))["status"]

    async def has(self, job_id: str, **fields: Any) -> None:
        """Return when the job's status has these fields."""

        async def is_so() -> bool:
            return fields.items() <= (await self.status(job_id)).items()

        await until(is_so)

    async def take(self, worker_id: str = "w1") -> dict[str, Any] | None:
        """The job that the worker gets; None: there was none for it."""
        code, job = await self.worker("GET", f"/job-take/{worker_id}?gpu=x&job_in_progress=0")
        assert code in {200, 204}, job
        return job

    async def run(self, **body: Any) -> str:
        """Queue a job, and have the worker w1 take it."""
        job_id = await self.submit(**body)
        job = await self.take()
        assert job is not None
        assert job["id"] == job_id
        return job_id

    async def done(self, job_id: str, body: Any, worker_id: str = "w1") -> int:
        """Report as the SDK does: JSON that calls itself a form."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        path = f"/job-done/{worker_id}/{job_id}?gpu=x&isStream=false"
        return (await self.worker("POST", path, data=data, headers=FORM))[0]

    async def stream(self, job_id: str, output: Any) -> int:
        return (await self.worker("POST", f"/job-stream/w1/{job_id}?x", json={"output": output}))[0]
