"""A local RunPod in a thread of its own, and a worker of the tests on its other side."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import urllib.request
from collections.abc import Callable
from typing import Any, Self

from comfypod.emulator.platform.faults import PlatformFault
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.runpod import RunPodEmulator

CONTENT = b"content of a picture"
PREVIEW = {"node_id": "3", "content_type": "image/jpeg", "data_base64": base64.b64encode(b"preview").decode()}


class LocalRunPod:
    """An emulator in a thread of its own, and the worker's side of it over plain HTTP."""

    def __init__(self, *faults: str) -> None:
        planned = tuple(map(PlatformFault.parse, faults))
        self.emulator = RunPodEmulator("ep", "key", platform=PlatformOptions(poll_seconds=1.0, faults=planned))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._run(self.emulator.start())
        self.base_url = self.emulator.base_url

    def _run(self, call: Any) -> None:
        asyncio.run_coroutine_threadsafe(call, self._loop).result(30)

    def stop(self) -> None:
        self._run(self.emulator.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def worker(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 (an address of the tests' own)
            f"{self.base_url}/ep/{path}?gpu=x",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": self.emulator.worker_key, "Content-Type": "application/x-www-form-urlencoded"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            content = response.read()
        return json.loads(content) if content else None


class Worker:
    """Takes jobs and does with them what ``do`` says: it returns what the SDK would send as the job's end."""

    def __init__(self, platform: LocalRunPod, do: Callable[[dict[str, Any], Callable[[Any], None]], Any]) -> None:
        self._platform = platform
        self._do = do
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ends.is_set():
            job = self._platform.worker("GET", "job-take/w1")
            if job is not None:
                address = f"job-done/w1/{job['id']}"

                def tell(progress: Any, address: str = address) -> None:
                    self._platform.worker("POST", address, {"status": "IN_PROGRESS", "output": progress})

                end = self._do(job["input"], tell)
                if end is not None:
                    self._platform.worker("POST", address, end)


def picture(job_input: dict[str, Any], tell: Callable[[Any], None]) -> Any:
    """Draws nothing, but answers as a worker of ours: two previews, then the prompt as a picture."""
    image = {"filename": "a.png", "type": "base64", "data": base64.b64encode(CONTENT).decode()}
    echo = {"idempotency_key": job_input["idempotency_key"], "warnings": [str(job_input.get("prompt"))]}
    return {"output": {"status": "success", "images": [image], **echo}}
