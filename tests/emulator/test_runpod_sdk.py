"""The local RunPod with the unmodified runpod-python at both ends: a worker process and `runpod.Endpoint`.

Importing runpod takes about two seconds per process, so most tests share one worker.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from comfypod.emulator.fleet.options import FleetOptions
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.requests import Limits
from comfypod.emulator.runpod import RunPodEmulator

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The arguments are the concurrency, and "stream" for a generator handler. Notes are files, because a stopped job has no
# other way to tell.
HANDLER = """
import asyncio, os, pathlib, sys
import runpod

async def handler(job):
    request = job["input"]
    note = pathlib.Path(request.get("note", os.devnull))
    match request["do"]:
        case "echo":
            return {"text": request["text"], "worker": os.environ["RUNPOD_POD_ID"]}
        case "progress":
            runpod.serverless.progress_update(job, {"step": 1})
            while not note.exists():
                await asyncio.sleep(0.02)
            return {"step": 2}
        case "sleep":
            runpod.serverless.progress_update(job, "asleep")
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                note.write_text("cancelled")
                raise
        case "sleep once":
            if note.exists():
                return {"worker": os.environ["RUNPOD_POD_ID"]}
            note.write_text("asleep")
            await asyncio.sleep(600)
        case "raise":
            raise ValueError("no such thing")
        case "error":
            return {"error": "refused", "code": "invalid_workflow"}
        case "nan":
            return {"value": float("nan")}
        case "large":
            return {"value": "x" * 10_000_000}
        case "refresh":
            return {"refresh_worker": True, "worker": os.environ["RUNPOD_POD_ID"]}

async def stream(job):
    yield {"step": 1}
    yield "Straße"
    if job["input"]["do"] == "stream and fail":
        raise ValueError("no such thing")

if __name__ == "__main__":
    runpod.serverless.start({
        "handler": stream if sys.argv[2:] == ["stream"] else handler,
        "concurrency_modifier": lambda _: int(sys.argv[1]),
        "return_aggregate_stream": True,
    })
"""

CLIENT = """
import json, sys, time
import runpod

runpod.api_key = sys.argv[1]
endpoint = runpod.Endpoint("local")
job = endpoint.run({"do": "echo", "text": "one"})
first = job.output(timeout=10)
two = endpoint.run_sync({"input": {"do": "echo", "text": "two"}}, timeout=10)
asleep = endpoint.run({"do": "sleep"})
while asleep.output() != "asleep":  # the SDK ignores a stop that comes before it has started the job
    time.sleep(0.05)
cancelled = asleep.cancel()
print(json.dumps({
    "state": job.status(), "one": first["text"], "two": two["text"], "cancelled": cancelled["status"],
    "later": asleep.status(), "health": sorted(endpoint.health()),
}))
try:
    runpod.Endpoint("local", api_key="wrong").health()
except RuntimeError as error:
    print(json.dumps(str(error)))
"""


class Client:
    """A client of one endpoint, in raw HTTP."""

    def __init__(self, emulator: RunPodEmulator, session: aiohttp.ClientSession) -> None:
        self.emulator = emulator
        self._session = session

    async def send(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        url = f"{self.emulator.base_url}/local{path}"
        async with self._session.request(method, url, json=body, headers={"Authorization": "Bearer local"}) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def submit(self, do: str, *, policy: dict[str, int] | None = None, **arguments: str) -> str:
        body = {"input": {"do": do, **arguments}, "policy": policy or {}}
        return (await self.send("POST", "/run", body))["id"]

    async def status(self, job_id: str) -> dict[str, Any]:
        return await self.send("GET", f"/status/{job_id}")

    async def finish(self, job_id: str, seconds: float = 60.0) -> dict[str, Any]:
        """The status of the job when it has ended."""

        async def has_ended() -> bool:
            return (await self.status(job_id))["status"] not in {"IN_QUEUE", "IN_PROGRESS"}

        await until(has_ended, seconds)
        return await self.status(job_id)

    async def has_output(self, job_id: str, output: Any) -> bool:
        return (await self.status(job_id)).get("output") == output


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 60.0) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(seconds):
        while True:
            outcome = condition()
            if outcome if isinstance(outcome, bool) else await outcome:
                return
            await asyncio.sleep(0.03)


def running_in_session(session_id: int) -> list[int]:
    """The processes of a worker that still run; zombies do not."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = path.read_text().rsplit(")", 1)[1].split()[:4]
        except FileNotFoundError:
            continue
        if int(session) == session_id and state != "Z":
            found.append(int(path.parent.name))
    return found


def only_worker(emulator: RunPodEmulator) -> tuple[str, int]:
    """The id of the worker and of its process."""
    assert emulator.fleet is not None
    [(worker_id, worker)] = emulator.fleet.workers.items()
    return worker_id, worker.pid


@pytest.fixture(scope="module")
def handler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("worker") / "rp_handler.py"
    path.write_text(HANDLER)
    return path


def emulator_for(handler: Path, concurrency: int, limits: Limits, *arguments: str) -> RunPodEmulator:
    command = [sys.executable, "-u", str(handler), str(concurrency), *arguments]
    return RunPodEmulator(
        platform=PlatformOptions(limits=limits),
        fleet=FleetOptions(command=command, min_workers=1, max_workers=1, log=handler.with_name("log")),
        ping_interval_seconds=1,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(handler: Path, session: aiohttp.ClientSession) -> AsyncIterator[Client]:
    """The endpoint that most tests share; its worker takes four jobs at a time."""
    async with emulator_for(handler, 4, Limits(minimum_execution_seconds=0.1)) as emulator:
        yield Client(emulator, session)


@pytest.mark.fact("B1-environment")
@pytest.mark.fact("B3-result")
@pytest.mark.fact("B4-batch-take")
async def test_job_runs_in_the_workers_process(client: Client) -> None:
    status = await client.finish(await client.submit("echo", text="Straße"))
    worker_id, _ = only_worker(client.emulator)
    assert status["status"] == "COMPLETED"
    assert status["output"] == {"text": "Straße", "worker": worker_id}
    assert status["workerId"] == worker_id


@pytest.mark.fact("A6-progress-is-output")
@pytest.mark.fact("B7-progress")
async def test_progress_is_seen_while_the_job_runs(client: Client, tmp_path: Path) -> None:
    note = tmp_path / "go"
    job_id = await client.submit("progress", note=str(note))
    await until(lambda: client.has_output(job_id, {"step": 1}))
    assert (await client.status(job_id))["status"] == "IN_PROGRESS"

    note.touch()
    status = await client.finish(job_id)
    assert (status["status"], status["output"]) == ("COMPLETED", {"step": 2})


@pytest.mark.fact("A3-runsync-result")
async def test_runsync_brings_the_result(client: Client) -> None:
    answer = await client.send("POST", "/runsync", {"input": {"do": "echo", "text": "now"}})
    assert (answer["status"], answer["output"]["text"]) == ("COMPLETED", "now")


@pytest.mark.fact("B3-exception")
async def test_exception_in_the_handler_fails_the_job_with_its_traceback(client: Client) -> None:
    status = await client.finish(await client.submit("raise"))
    assert status["status"] == "FAILED"
    details = json.loads(status["error"])
    assert (details["error_type"], details["error_message"]) == ("<class 'ValueError'>", "no such thing")


@pytest.mark.fact("B3-error")
async def test_error_of_the_handler_fails_the_job_and_keeps_its_fields(client: Client) -> None:
    status = await client.finish(await client.submit("error"))
    assert (status["status"], status["error"]) == ("FAILED", "refused")
    assert status["output"] == {"code": "invalid_workflow"}


@pytest.mark.fact("A10-refused-result")
@pytest.mark.fact("B6-nan")
@pytest.mark.parametrize("do", ["nan", "large"])
async def test_result_that_the_platform_refuses_is_lost(client: Client, do: str) -> None:
    status = await client.finish(await client.submit(do))
    assert status["status"] == "COMPLETED"
    assert "output" not in status


@pytest.mark.fact("A8-cancel")
@pytest.mark.fact("B5-job-stop")
async def test_cancel_reaches_the_handler(client: Client, tmp_path: Path) -> None:
    note = tmp_path / "note"
    job_id = await client.submit("sleep", note=str(note))
    await until(lambda: client.has_output(job_id, "asleep"))

    assert await client.send("POST", f"/cancel/{job_id}") == {"id": job_id, "status": "CANCELLED"}
    await until(note.exists, 2)
    assert (await client.status(job_id))["status"] == "CANCELLED"


@pytest.mark.fact("A9-execution-timeout")
async def test_execution_timeout_reaches_the_handler(client: Client, tmp_path: Path) -> None:
    note = tmp_path / "note"
    status = await client.finish(await client.submit("sleep", note=str(note), policy={"executionTimeout": 700}))
    assert status["status"] == "TIMED_OUT"
    await until(note.exists, 2)


async def test_runpod_endpoint_works_unmodified(client: Client) -> None:
    environment = {**os.environ, "RUNPOD_ENDPOINT_BASE_URL": client.emulator.base_url}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, "local", env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    answer, refusal = map(json.loads, output.decode().splitlines())
    assert answer == {
        "state": "COMPLETED",
        "one": "one",
        "two": "two",
        "cancelled": "CANCELLED",
        "later": "CANCELLED",
        "health": ["jobs", "workers"],
    }
    assert "401" in refusal


@pytest.mark.fact("B3-stop-pod")
async def test_worker_that_asks_for_it_is_replaced(client: Client) -> None:
    worker_id, pid = only_worker(client.emulator)
    status = await client.finish(await client.submit("refresh"))
    assert status["output"] == {"worker": worker_id}

    status = await client.finish(await client.submit("echo", text="again"))
    assert status["output"]["worker"] == only_worker(client.emulator)[0] != worker_id
    assert running_in_session(pid) == []


@pytest.mark.fact("A7-stream-drains")
@pytest.mark.fact("B8-stream")
async def test_what_a_generator_yields_is_streamed_in_order(handler: Path, session: aiohttp.ClientSession) -> None:
    async with emulator_for(handler, 1, Limits(), "stream") as emulator:
        client = Client(emulator, session)
        for do, state in (("stream", "COMPLETED"), ("stream and fail", "FAILED")):
            job_id = await client.submit(do)
            stream: list[Any] = []
            answer = {"status": "IN_QUEUE", "stream": []}
            while answer["stream"] or answer["status"] in {"IN_QUEUE", "IN_PROGRESS"}:
                answer = await client.send("GET", f"/stream/{job_id}")
                stream += answer["stream"]
            assert stream == [{"output": {"step": 1}}, {"output": "Straße"}]
            assert answer["status"] == state
            status = await client.status(job_id)
            if state == "COMPLETED":
                assert status["output"] == [{"step": 1}, "Straße"]
            else:
                assert "no such thing" in status["error"]


@pytest.mark.fact("B2-lost-job")
@pytest.mark.fact("B2-ping")
async def test_worker_killed_in_mid_job_loses_it_to_its_replacement(
    handler: Path, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with emulator_for(handler, 1, Limits(lost_job_seconds=2.5)) as emulator:
        client = Client(emulator, session)
        note = tmp_path / "note"
        job_id = await client.submit("sleep once", note=str(note))
        await until(note.exists)
        killed, pid = only_worker(emulator)
        assert len(running_in_session(pid)) == 2, "the worker and its heartbeat"
        os.kill(pid, signal.SIGKILL)

        status = await client.finish(job_id)
        assert (status["status"], status["retries"]) == ("COMPLETED", 1)
        assert status["output"]["worker"] == status["workerId"] == only_worker(emulator)[0] != killed
        assert running_in_session(pid) == []


async def test_stop_in_mid_job_stops_the_job_and_leaves_no_process(
    handler: Path, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with emulator_for(handler, 1, Limits()) as emulator:
        client = Client(emulator, session)
        note = tmp_path / "note"
        job_id = await client.submit("sleep", note=str(note))
        await until(lambda: client.has_output(job_id, "asleep"))
        _, pid = only_worker(emulator)

        started = time.monotonic()
        await emulator.stop()
        assert time.monotonic() - started < 4, "the worker leaves by itself, before it would be killed"
    assert note.exists(), "the handler was told"
    await until(lambda: running_in_session(pid) == [], 2)


async def test_stop_while_the_worker_is_starting_leaves_no_process(handler: Path) -> None:
    async with emulator_for(handler, 1, Limits()) as emulator:
        fleet = emulator.fleet
        assert fleet is not None
        await until(lambda: bool(fleet.workers))
        _, pid = only_worker(emulator)
        await until(lambda: bool(running_in_session(pid)), 5)
    await until(lambda: running_in_session(pid) == [], 2)
