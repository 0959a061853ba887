"""The planned faults that strike jobs, as clients and workers of the local RunPod see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from comfypod.emulator.platform.faults import PlatformFault
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.requests import Limits
from comfypod.emulator.platform.switches import Switches
from comfypod.emulator.runpod import RunPodEmulator
from tests.emulator.wire import Wire

Start = Callable[..., Awaitable[Wire]]


@pytest.fixture
async def endpoint() -> AsyncIterator[Start]:
    """Start a local RunPod with faults."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)))

        async def start(*specs: str, **options: Any) -> Wire:
            faults = [PlatformFault.parse(spec) for spec in specs]
            platform = PlatformOptions(faults=faults, poll_seconds=0.3, **options)
            emulator = await stack.enter_async_context(RunPodEmulator(platform=platform))
            return Wire(emulator.base_url.removesuffix("/v2"), emulator.worker_key, session)

        yield start


async def taken(local: Wire, worker_id: str) -> str | None:
    """The id of the job that the worker gets."""
    job = await local.take(worker_id)
    return job["id"] if job is not None else None


PROGRESS = {"status": "IN_PROGRESS", "output": "half"}


async def test_lost_job_never_reaches_its_worker_and_comes_back(endpoint: Start) -> None:
    local = await endpoint("lose", limits=Limits(lost_job_seconds=0.4))
    job_id = await local.submit()
    assert await local.take("w1") is None
    assert (await local.status(job_id))["status"] == "IN_PROGRESS"
    await local.has(job_id, status="IN_QUEUE", retries=1)
    assert await taken(local, "w2") == job_id


async def test_only_the_planned_job_of_a_batch_is_lost(endpoint: Start) -> None:
    local = await endpoint("lose:after=1")
    first, second, third = [await local.submit() for _ in range(3)]
    _, jobs = await local.worker("GET", "/job-take-batch/w1?batch_size=3")
    assert [job["id"] for job in jobs] == [first, third]
    assert (await local.status(second))["status"] == "IN_PROGRESS"


async def test_duplicate_is_delivered_to_another_worker_too_and_the_first_result_counts(endpoint: Start) -> None:
    local = await endpoint("duplicate")
    job_id = await local.submit()
    assert await taken(local, "w1") == job_id
    assert await local.take("w1") is None, "not to the same one"
    assert await taken(local, "w2") == job_id
    assert await local.take("w3") is None, "not a third time"
    assert await local.done(job_id, {"output": 2}, "w2") == 200
    assert await local.done(job_id, {"output": 1}, "w1") == 200
    status = await local.status(job_id)
    assert (status["status"], status["output"]) == ("COMPLETED", 2)


async def test_dropped_progress_is_answered_and_forgotten(endpoint: Start) -> None:
    local = await endpoint("drop_progress")
    job_id = await local.submit()
    await local.take("w1")
    assert await local.done(job_id, PROGRESS) == 200
    assert "output" not in await local.status(job_id)
    await local.done(job_id, PROGRESS)
    assert (await local.status(job_id))["output"] == "half"


async def test_late_progress_is_answered_at_once_and_applied_later(endpoint: Start) -> None:
    local = await endpoint("late_progress:seconds=0.3")
    job_id = await local.submit()
    await local.take("w1")
    assert await local.done(job_id, PROGRESS) == 200
    assert "output" not in await local.status(job_id)
    await local.has(job_id, output="half")


@pytest.mark.parametrize(("reading", "state"), [("ignored", "COMPLETED"), ("overwrites", "IN_PROGRESS")])
async def test_progress_that_comes_after_the_result_does_what_the_switch_says(
    endpoint: Start, reading: str, state: str
) -> None:
    local = await endpoint("late_progress:seconds=0.2", switches=Switches.parse([f"late_progress={reading}"]))
    job_id = await local.submit()
    await local.take("w1")
    await local.done(job_id, PROGRESS)
    await local.done(job_id, {"output": "whole"})
    assert (await local.status(job_id))["status"] == "COMPLETED"
    if reading == "overwrites":
        await local.has(job_id, status="IN_PROGRESS", output="half")
    else:
        await asyncio.sleep(0.3)  # for as long as it is late, and nothing comes of it
        assert (await local.status(job_id))["output"] == "whole"
    assert (await local.status(job_id))["status"] == state


async def test_dropped_stop_never_reaches_the_worker(endpoint: Start) -> None:
    local = await endpoint("drop_stop")
    stops = []
    for _ in range(2):
        job_id = await local.submit()
        await local.take("w1")
        await local.client("POST", f"/cancel/{job_id}")
        stops.append(await local.worker("GET", "/job-stop/w1?gpu=x"))
    assert stops == [(204, None), (200, {"jobsToStop": [job_id]})]


async def test_refused_result_is_not_recorded(endpoint: Start) -> None:
    local = await endpoint("refuse_result:code=502")
    job_id = await local.submit()
    await local.take("w1")
    assert await local.done(job_id, PROGRESS) == 200, "progress is no result"
    assert await local.done(job_id, {"output": 1}) == 502
    assert (await local.status(job_id))["status"] == "IN_PROGRESS"
    assert await local.done(job_id, {"output": 1}) == 200
    assert (await local.status(job_id))["status"] == "COMPLETED"


async def test_run_that_is_cut_off_after_it_acted_makes_a_job_whose_id_nobody_knows(endpoint: Start) -> None:
    local = await endpoint("cut:route=run,when=after")
    with pytest.raises(aiohttp.ClientConnectionError):
        await local.submit()
    job_id = await taken(local, "w1")
    assert job_id is not None
    assert (await local.status(job_id))["status"] == "IN_PROGRESS"


async def test_faults_are_planned_over_http_only_where_that_is_allowed_and_with_the_key(endpoint: Start) -> None:
    closed, opened = await endpoint(), await endpoint(accept_faults=True)
    for local, key, code in ((closed, "local", 404), (opened, "wrong", 401), (opened, "local", 200)):
        assert (await local.send("POST", "/emulator/faults", key, json={"faults": ["status:code=503"]}))[0] == code
    assert (await opened.client("GET", "/health"))[0] == 503
    assert (await opened.client("GET", "/health"))[0] == 200


async def test_under_many_faults_every_job_ends_and_its_first_result_stays(endpoint: Start) -> None:
    local = await endpoint(
        "lose:chance=0.1,times=0",
        "duplicate:chance=0.2,times=0",
        "status:route=job-done,code=503,acted=true,chance=0.1,times=0",
        limits=Limits(lost_job_seconds=0.4),
    )
    job_ids = [await local.submit() for _ in range(60)]
    handed: list[str] = []

    async def work(worker_id: str) -> None:
        while True:
            if job_id := await taken(local, worker_id):
                handed.append(job_id)
                await local.done(job_id, {"output": worker_id}, worker_id)

    async def end_of(job_id: str) -> dict[str, Any]:
        while (status := await local.status(job_id))["status"] not in {"COMPLETED", "FAILED"}:
            await asyncio.sleep(0.05)
        return status

    workers = [asyncio.create_task(work(f"w{number}")) for number in range(3)]
    try:
        ends = await asyncio.wait_for(asyncio.gather(*map(end_of, job_ids)), 20)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    assert {end.get("error") for end in ends if end["status"] == "FAILED"} <= {"job timed out after 1 retries"}
    assert any(end.get("retries") for end in ends), "some were lost"
    assert len(handed) > len(set(handed)), "some were delivered twice"
    assert all(end["output"] in {"w0", "w1", "w2"} for end in ends if end["status"] == "COMPLETED")
    assert [await local.status(end["id"]) for end in ends] == ends, "and nothing changes afterwards"


@pytest.mark.parametrize("spec", ["cut:route=stream,when=after", "status:route=stream,acted=true,code=503"])
async def test_stream_that_is_lost_after_it_acted_takes_its_chunks_with_it(endpoint: Start, spec: str) -> None:
    local = await endpoint(spec)
    job_id = await local.run()
    await local.stream(job_id, "lost")
    if spec.startswith("cut"):
        with pytest.raises(aiohttp.ClientConnectionError):
            await local.client("POST", f"/stream/{job_id}")  # a GET would be sent again by aiohttp
    else:
        assert (await local.client("GET", f"/stream/{job_id}"))[0] == 503
    await local.stream(job_id, "kept")
    code, answer = await local.client("GET", f"/stream/{job_id}")
    assert (code, answer["stream"]) == (200, [{"output": "kept"}])
