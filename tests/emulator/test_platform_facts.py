"""Facts of the local RunPod: those that the unmodified runpod-python 1.12.0 shows as its worker, and smaller ones."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from comfypod.emulator.fleet.options import FleetOptions
from comfypod.emulator.platform.faults import PlatformFault
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.requests import Limits
from comfypod.emulator.runpod import RunPodEmulator

pytestmark = pytest.mark.asyncio(loop_scope="module")

HANDLER = """
import sys
import runpod

async def handler(job):
    for number in range(job["input"].get("updates", 0)):
        runpod.serverless.progress_update(job, number)
    return {"told": job["input"]}

if __name__ == "__main__":
    if sys.argv[1] == "unfit":
        @runpod.serverless.register_fitness_check
        def models_are_present():
            raise RuntimeError("no model at all")
    runpod.serverless.start({"handler": handler})
"""
# Counts the progress posts that have arrived, and changes nothing.
COUNT_PROGRESS = "late_progress:seconds=0,times=0"


class Client:
    """A client of one endpoint, in raw HTTP."""

    def __init__(self, emulator: RunPodEmulator, session: aiohttp.ClientSession) -> None:
        self._emulator = emulator
        self._session = session

    async def send(self, method: str, path: str, body: Any = None, key: str = "Bearer local") -> Any:
        address, headers = self._emulator.base_url.removesuffix("/v2"), {"Authorization": key}
        async with self._session.request(method, f"{address}{path}", json=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def submit(self, job_input: Any, **more: Any) -> str:
        return (await self.send("POST", "/v2/local/run", {"input": job_input, **more}))["id"]

    async def take(self, worker_id: str) -> dict[str, Any]:
        """Take a job as a worker."""
        return await self.send("GET", f"/v2/local/job-take/{worker_id}?gpu=x", key=self._emulator.worker_key)

    async def report(self, worker_id: str, job_id: str, body: Any) -> None:
        """Report progress or a result as a worker."""
        await self.send("POST", f"/v2/local/job-done/{worker_id}/{job_id}?gpu=x", body, self._emulator.worker_key)

    async def status(self, job_id: str) -> dict[str, Any]:
        return await self.send("GET", f"/v2/local/status/{job_id}")

    async def finish(self, job_id: str) -> dict[str, Any]:
        """The status of the job when it has ended."""

        async def has_ended() -> bool:
            return (await self.status(job_id))["status"] not in {"IN_QUEUE", "IN_PROGRESS"}

        await until(has_ended)
        return await self.status(job_id)

    async def plan(self, *specs: str) -> None:
        await self.send("DELETE", "/emulator/faults")
        await self.send("POST", "/emulator/faults", {"faults": specs})

    async def fault(self, spec: str) -> dict[str, Any]:
        """How often a planned fault had an occasion, and how often it struck."""
        faults = (await self.send("GET", "/emulator/faults"))["faults"]
        return next(fault for fault in faults if fault["fault"] == spec)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(15):
        while not await condition():
            await asyncio.sleep(0.03)


def emulator_for(folder: Path, mode: str, *faults: str) -> RunPodEmulator:
    script = folder / "rp_handler.py"
    script.write_text(HANDLER)
    return RunPodEmulator(
        platform=PlatformOptions(
            limits=Limits(lost_job_seconds=1.5),
            faults=[PlatformFault.parse(fault) for fault in faults],
            accept_faults=True,
        ),
        fleet=FleetOptions(
            command=[sys.executable, "-u", str(script), mode], min_workers=1, max_workers=1, log=folder / "log"
        ),
        ping_interval_seconds=1,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory, session: aiohttp.ClientSession) -> AsyncIterator[Client]:
    """The endpoint that most tests share."""
    async with emulator_for(tmp_path_factory.mktemp("worker"), "fit") as emulator:
        yield Client(emulator, session)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bare(session: aiohttp.ClientSession) -> AsyncIterator[Client]:
    """An endpoint without a worker; the tests are the workers."""
    async with RunPodEmulator(platform=PlatformOptions(limits=Limits(lost_job_seconds=0.5))) as emulator:
        yield Client(emulator, session)


@pytest.mark.fact("A1-success-is-200")
@pytest.mark.fact("A1-status-get-and-post")
async def test_every_success_is_200_with_every_method_that_clients_use(bare: Client) -> None:
    queued, failed, ended = [await bare.submit({"n": number}) for number in range(3)]
    await bare.send("POST", f"/v2/local/cancel/{queued}")
    for job_id, body in ((failed, {"error": "no"}), (ended, {"output": 1})):
        assert (await bare.take("w1"))["id"] == job_id
        await bare.report("w1", job_id, body)
    for operation in ("status", "status-sync", "stream"):
        for method in ("GET", "POST"):  # `Client.send` insists on 200
            answer = await bare.send(method, f"/v2/local/{operation}/{ended}?wait=1000")
            assert answer["status"] == "COMPLETED"
    assert await bare.send("POST", f"/v2/local/retry/{failed}") == {"id": failed, "status": "IN_QUEUE"}
    assert (await bare.send("POST", "/v2/local/purge-queue"))["removed"] == 1
    for operation in ("health", "requests", "metrics"):
        await bare.send("GET", f"/v2/local/{operation}")
    timely = asyncio.create_task(bare.send("POST", "/v2/local/runsync", {"input": {"n": 1}}))
    await bare.report("w1", (await bare.take("w1"))["id"], {"output": 1})
    assert (await timely)["status"] == "COMPLETED"


@pytest.mark.fact("A7-chunk-limit")
@pytest.mark.fact("A9-body-limits")
@pytest.mark.fact("A9-retention")
@pytest.mark.fact("A9-execution-timeout")
@pytest.mark.fact("A9-ttl")
async def test_limits_are_runpods_unless_told_otherwise() -> None:
    megabyte, minute, day = 1_000_000, 60, 86_400
    limits = Limits()
    assert (limits.run_bytes, limits.runsync_bytes) == (10 * megabyte, 20 * megabyte)
    assert (limits.run_retention_seconds, limits.runsync_retention_seconds) == (30 * minute, minute)
    assert (limits.execution_seconds, limits.minimum_execution_seconds) == (10 * minute, 5)
    assert (limits.ttl_seconds, limits.minimum_ttl_seconds, limits.maximum_policy_seconds) == (day, 10, 7 * day)
    assert (limits.stream_chunk_bytes, limits.stream_wait_seconds) == (megabyte, 10)


@pytest.mark.fact("A4-nothing-that-was-sent")
async def test_status_shows_nothing_that_was_sent(bare: Client) -> None:
    job_id = await bare.submit({"n": 1}, webhook="http://127.0.0.1:9/", policy={"ttl": 60_000}, s3Config={"a": 1})
    assert await bare.status(job_id) == {"id": job_id, "status": "IN_QUEUE"}
    await bare.take("w1")
    assert (await bare.status(job_id)).keys() == {"id", "status", "workerId", "delayTime", "executionTime"}
    await bare.send("POST", f"/v2/local/cancel/{job_id}")


@pytest.mark.fact("A4-time-while-running")
@pytest.mark.fact("A6-progress-is-output")
async def test_running_job_shows_its_time_and_the_last_progress_alone(bare: Client) -> None:
    job_id = await bare.submit({"n": 1})
    await bare.take("w1")
    for output in ({"step": 1}, ["any", "JSON"], "the last"):
        await bare.report("w1", job_id, {"status": "IN_PROGRESS", "output": output})
    first = await bare.status(job_id)
    assert (first["status"], first["output"]) == ("IN_PROGRESS", "the last")

    async def has_grown() -> bool:
        return (await bare.status(job_id))["executionTime"] > first["executionTime"]

    await until(has_grown)
    await bare.report("w1", job_id, {"output": 1})


@pytest.mark.fact("A4-delay-of-the-last-attempt")
@pytest.mark.fact("B2-lost-job")
async def test_delay_of_a_job_that_was_lost_counts_until_its_second_start(bare: Client) -> None:
    job_id = await bare.submit({"n": 1})
    await bare.take("w1")
    assert (await bare.status(job_id))["delayTime"] < 400
    assert (await bare.take("w2"))["id"] == job_id
    status = await bare.status(job_id)
    assert status["delayTime"] >= 500
    assert (status["retries"], status["workerId"]) == (1, "w2")
    await bare.report("w2", job_id, {"output": 1})


@pytest.mark.fact("A8-cancel-body")
@pytest.mark.parametrize("body", [None, {}, {"id": 1}])
async def test_cancel_takes_any_body_and_none(bare: Client, body: Any) -> None:
    job_id = await bare.submit({"n": 1})
    assert await bare.send("POST", f"/v2/local/cancel/{job_id}", body) == {"id": job_id, "status": "CANCELLED"}


@pytest.mark.fact("A2-empty-input-never-runs")
async def test_empty_input_is_refused_by_the_sdk_until_the_job_fails(client: Client) -> None:
    status = await client.finish(await client.submit({}))
    assert (status["status"], status["error"]) == ("FAILED", "job timed out after 1 retries")
    assert status["retries"] == 1
    told = await client.finish(await client.submit({"n": 1}))
    assert told["output"] == {"told": {"n": 1}}, "the worker goes on"


@pytest.mark.fact("B7-late-progress")
async def test_progress_sent_just_before_the_result_does_not_undo_it(client: Client) -> None:
    await client.plan(COUNT_PROGRESS)

    async def has_all_progress() -> bool:
        return (await client.fault(COUNT_PROGRESS))["occasions"] == 5

    job_id = await client.submit({"updates": 5})
    await until(has_all_progress)
    status = await client.finish(job_id)
    assert (status["status"], status["output"]) == ("COMPLETED", {"told": {"updates": 5}})


@pytest.mark.fact("B6-server-errors-tried-again")
async def test_result_that_meets_a_server_error_is_sent_again(client: Client) -> None:
    refusal = "refuse_result:code=500"
    await client.plan(refusal)
    status = await client.finish(await client.submit({"n": 2}))
    assert (status["status"], status["output"]) == ("COMPLETED", {"told": {"n": 2}})
    assert (await client.fault(refusal))["occasions"] == 2


@pytest.mark.fact("B6-connection-errors-not-tried-again")
async def test_result_whose_connection_breaks_is_lost_until_the_job_is(client: Client) -> None:
    cut = "cut:route=job-done"
    await client.plan(cut)
    status = await client.finish(await client.submit({"n": 3}))
    assert (status["status"], status["retries"]) == ("COMPLETED", 1)
    assert (await client.fault(cut))["occasions"] == 2


@pytest.mark.fact("B10-fitness")
async def test_worker_that_fails_its_check_says_so_and_takes_no_job(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    pings, takes = "latency:route=ping,seconds=0,times=0", "latency:route=job-take,seconds=0,times=0"
    async with emulator_for(tmp_path, "unfit", pings, takes) as emulator:
        client = Client(emulator, session)
        job_id = await client.submit({"n": 1})

        async def has_pinged() -> bool:
            return (await client.fault(pings))["occasions"] > 0

        await until(has_pinged)
        assert (await client.fault(takes))["occasions"] == 0
        assert (await client.status(job_id))["status"] == "IN_QUEUE"
    assert "no model at all" in (tmp_path / "log").read_text()
