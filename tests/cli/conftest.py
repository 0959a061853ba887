"""A RunPod with a worker that does as it is told, and commands run against it as people run them: as processes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil
import pytest

from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.runpod import RunPodEmulator

ROOT = Path(__file__).parents[2]
SECONDS = 20.0
"""Longest wait for anything in here; far more than any of it takes."""
WORKER = "w1"
HOLD = "hold"
"""A step that never ends by itself."""

Step = Mapping[str, Any] | str


def update(value: float, message: str, **more: Any) -> dict[str, Any]:
    """A step: the worker tells how far it is."""
    return {
        "status": "IN_PROGRESS",
        "output": {"sequence": 1, "stage": "execute", "value": value, "message": message, **more},
    }


def artifact(content: bytes, filename: str = "fox_00001_.png", **more: Any) -> dict[str, Any]:
    return {
        "node_id": "9",
        "index": 0,
        "filename": filename,
        "subfolder": "",
        "type": "base64",
        "data": base64.b64encode(content).decode(),
        "content_type": "image/png",
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        **more,
    }


def success(*images: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A step: the job succeeded with these files."""
    output = {"status": "success", "images": list(images), "files": [], "texts": [], "warnings": [], **more}
    return {"output": output}


def failure(code: str, sentence: str, *, retryable: bool = False) -> dict[str, Any]:
    """A step: the job failed."""
    return {"error": sentence, "output": {"status": "error", "code": code, "retryable": retryable, "details": {}}}


class ScriptedEndpoint:
    """A RunPod emulator in a thread of its own, and one worker that follows ``script`` for every job."""

    def __init__(self) -> None:
        self.script: Sequence[Step] = (success(artifact(b"a picture")),)
        self.inputs: list[dict[str, Any]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thawed = threading.Event()
        self._thawed.set()

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(SECONDS)

    def stop(self) -> None:
        self.thaw()
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    def freeze(self) -> None:
        """Answer nobody any more, as a platform that hangs; connections are still taken."""
        self._thawed.clear()
        reached = threading.Event()

        def hang() -> None:
            reached.set()
            self._thawed.wait()

        self._loop.call_soon_threadsafe(hang)
        assert reached.wait(SECONDS)

    def has_unread_request_of(self, pid: int) -> bool:
        """Whether this process sent something to it while it is frozen (Linux: proc(5), /proc/net/tcp)."""
        port = urlsplit(self._emulator.base_url).port
        connections = psutil.Process(pid).net_connections("tcp4")
        own_ports = {item.laddr.port for item in connections if item.raddr and item.raddr.port == port}
        for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
            _, local, remote, _, queues, *_ = line.split()
            is_own = int(local[-4:], 16) == port and int(remote[-4:], 16) in own_ports
            if is_own and int(queues.partition(":")[2], 16) > 0:
                return True
        return False

    def thaw(self) -> None:
        self._thawed.set()

    @property
    def environment(self) -> dict[str, str]:
        """What a command needs to find it."""
        return {
            "RUNPOD_ENDPOINT_ID": "local",
            "RUNPOD_API_KEY": "s3cret-key",
            "RUNPOD_ENDPOINT_BASE_URL": self._emulator.base_url,
        }

    def call(self, method: str, path: str) -> Any:
        """What RunPod answers a client."""
        return asyncio.run_coroutine_threadsafe(self._call(method, path, "s3cret-key"), self._loop).result(SECONDS)

    def state(self, job_id: str) -> str:
        return str(self.call("GET", f"/status/{job_id}")["status"])

    async def _start(self) -> None:
        self._emulator = RunPodEmulator("local", "s3cret-key", platform=PlatformOptions(poll_seconds=1.0))
        await self._emulator.start()
        self._http = aiohttp.ClientSession()
        self._tasks = {asyncio.create_task(self._take_jobs())}

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.close()
        await self._emulator.stop()

    async def _take_jobs(self) -> None:
        while True:
            job = await self._call("GET", f"/job-take/{WORKER}?gpu=x&job_in_progress=0", self._emulator.worker_key)
            if job:
                self.inputs.append(job["input"])
                self._tasks.add(asyncio.create_task(self._do(job["id"])))

    async def _do(self, job_id: str) -> None:
        for step in self.script:
            if step == HOLD:
                await asyncio.Event().wait()
            path = f"/job-done/{WORKER}/{job_id}?gpu=x&isStream=false"
            await self._call("POST", path, self._emulator.worker_key, json.dumps(step).encode())
            await asyncio.sleep(0.6 if isinstance(step, Mapping) and step.get("status") else 0)  # to be seen

    async def _call(self, method: str, path: str, key: str, body: bytes | None = None) -> Any:
        url = f"{self._emulator.base_url}/local{path}"
        async with self._http.request(
            method, url, data=body, headers={"Authorization": f"Bearer {key}" if key == "s3cret-key" else key}
        ) as response:
            text = await response.text()
            return json.loads(text) if text else None


@dataclass
class Ended:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@dataclass
class CommandLine:
    """Runs ``comfypod …`` in a folder of its own, with nothing of the tester's own environment that matters."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def full_environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNPOD_", "COMFY"))}
        for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES", "COLORTERM"):
            kept.pop(name, None)
        return {**kept, "HOME": str(self.folder), **self.environment, **more}

    def start(
        self, *arguments: str, preexec: Callable[[], None] | None = None, **environment: str
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "comfypod", *arguments],
            cwd=self.folder,
            env=self.full_environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=preexec,  # noqa: PLW1509 (a limit of the process itself, and no thread of ours holds a lock)
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def __call__(self, *arguments: str, preexec: Callable[[], None] | None = None, **environment: str) -> Ended:
        return self.end(self.start(*arguments, preexec=preexec, **environment))

    @staticmethod
    def end(process: subprocess.Popen[str]) -> Ended:
        stdout, stderr = process.communicate(timeout=SECONDS)
        return Ended(process.returncode, stdout, stderr)

    def stop(self) -> None:
        for process in self.started:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.communicate(timeout=SECONDS)


def until(condition: Callable[[], bool], what: str) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"in vain waited for: {what}"
        time.sleep(0.01)


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    endpoint = ScriptedEndpoint()
    endpoint.start()
    yield endpoint
    endpoint.stop()


@pytest.fixture
def nowhere(tmp_path: Path) -> Iterator[CommandLine]:
    """Commands that know of no endpoint."""
    command_line = CommandLine(tmp_path)
    yield command_line
    command_line.stop()


@pytest.fixture
def comfypod(nowhere: CommandLine, endpoint: ScriptedEndpoint) -> CommandLine:
    """Commands that find the endpoint in their environment."""
    nowhere.environment.update(endpoint.environment)
    return nowhere
