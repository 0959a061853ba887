"""A local RunPod with a fleet of small worker processes that speak the worker's side of the protocol, nothing else."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from comfypod.emulator.fleet.options import FleetOptions
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.runpod import RunPodEmulator
from tests.emulator.wire import until

# A worker that takes one job after the other; a job says for how many seconds it lasts. Its arguments are a folder,
# for notes, and what is special about it.
WORKER = """
import http.client, json, os, pathlib, signal, subprocess, sys, time
from urllib.parse import urlsplit

folder, kind = pathlib.Path(sys.argv[1]), sys.argv[2]
worker_id = os.environ["RUNPOD_POD_ID"]
(folder / worker_id).write_text(str(os.getpid()))
if kind == "crashes":
    sys.exit("no model")
if kind == "never comes up":
    time.sleep(600)
if kind == "has a child":
    # In a session of its own, as ComfyUI is.
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = subprocess.Popen(sleep, start_new_session=True)
    (folder / (worker_id + ".child")).write_text(str(child.pid))
ends = False

def end(*_):
    global ends
    ends = True

signal.signal(signal.SIGTERM, end)

def call(method, address, query="", body=None):
    parts = urlsplit(address.replace("$RUNPOD_POD_ID", worker_id))
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    headers = {"Authorization": os.environ["RUNPOD_AI_API_KEY"]}
    connection.request(method, parts.path + "?" + parts.query + query, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status == 400:
        with (folder / "refused").open("a") as refused:
            print(worker_id, file=refused)
    return json.loads(text) if answer.status == 200 and text else None

if kind == "unfit":
    call("GET", os.environ["RUNPOD_WEBHOOK_PING"], "&status=unhealthy&check=gpu&reason=none")
    time.sleep(600)
call("GET", os.environ["RUNPOD_WEBHOOK_PING"])
while not ends:
    job = call("GET", os.environ["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", worker_id), "&job_in_progress=0")
    if job is None:
        continue
    if ends:
        break  # as runpod-python does: a job that comes while it is ending is not run
    time.sleep(job["input"]["seconds"])
    result = {"output": {"worker": worker_id, "text": os.environ.get("GREETING")}}
    if job["input"].get("refresh"):
        result["stopPod"] = True
    address = os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$ID", job["id"])
    call("POST", address, "&isStream=false", json.dumps(result))
"""


class Site:
    """One emulator with a fleet, and a client of it."""

    def __init__(self, emulator: RunPodEmulator, session: aiohttp.ClientSession, notes: Path) -> None:
        self.emulator = emulator
        self.notes = notes
        self._session = session

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        url, headers = f"{self.emulator.base_url}/local{path}", {"Authorization": "local"}
        async with self._session.request(method, url, json=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def submit(self, seconds: float = 0.0, **more: Any) -> str:
        body = {"input": {"seconds": seconds, **more.pop("input", {})}, **more}
        return (await self.call("POST", "/run", body))["id"]

    async def output(self, job_id: str, seconds: float = 8.0) -> dict[str, Any]:
        """What a job brought; it must succeed."""
        document: dict[str, Any] = {}

        async def has_ended() -> bool:
            document.update(await self.call("GET", f"/status/{job_id}"))
            return document["status"] not in {"IN_QUEUE", "IN_PROGRESS"}

        await until(has_ended, seconds)
        assert document["status"] == "COMPLETED", document
        return document["output"]

    def workers(self, *states: str) -> list[dict[str, Any]]:
        """The workers in these states, or all."""
        listed = self.emulator.overview()["workers"]
        return [worker for worker in listed if not states or worker["state"] in states]

    async def health(self) -> dict[str, int]:
        return (await self.call("GET", "/health"))["workers"]


def state_of(pid: int) -> str | None:
    """The kernel's letter for a process: T is stopped, Z and X have ended; None: it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # before it was opened, or between that and the reading
        return None


def is_gone(pid: int) -> bool:
    return state_of(pid) in {None, "Z", "X"}


Opener = Callable[..., Awaitable[Site]]


@asynccontextmanager
async def fleet_sites(tmp_path: Path) -> AsyncIterator[Opener]:
    """What starts an emulator with a kind of worker and options of its fleet; in the end no process may be left."""
    opened: list[RunPodEmulator] = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:

        async def open_one(kind: str = "", platform: PlatformOptions | None = None, **options: Any) -> Site:
            script = tmp_path / "worker.py"
            script.write_text(WORKER)
            command = [sys.executable, "-I", "-S", str(script), str(tmp_path), kind]
            defaults = {"idle_seconds": 0.3, "scaler_value": 0.3, "log": tmp_path / "log"}
            fleet = FleetOptions(command=command, **{**defaults, **options})
            emulator = RunPodEmulator(platform=platform or PlatformOptions(poll_seconds=1), fleet=fleet)
            opened.append(emulator)
            await emulator.start()
            return Site(emulator, session, tmp_path)

        yield open_one
        for emulator in opened:
            await emulator.stop()
    # One that was ended in its first moments has noted nothing.
    pids = [int(path.read_text()) for path in tmp_path.glob("local-*") if path.stat().st_size]
    await until(lambda: all(map(is_gone, pids)))
