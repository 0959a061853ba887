"""The fleet with real processes: workers come and go with the jobs, and are billed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from comfypod.emulator.fleet.options import Scaler
from comfypod.emulator.platform.requests import JobRequest
from comfypod.emulator.runpod import RunPodEmulator
from tests.emulator.fleet_site import Opener, fleet_sites, state_of
from tests.emulator.wire import until


@pytest.fixture
async def open_site(tmp_path: Path) -> AsyncIterator[Opener]:
    """Start an emulator with this kind of worker and these options of its fleet."""
    async with fleet_sites(tmp_path) as open_one:
        yield open_one


@pytest.mark.fact("C4-queue-delay")
async def test_workers_come_with_the_jobs_and_go_when_they_are_done(open_site: Opener) -> None:
    site = await open_site(max_workers=3)
    await asyncio.sleep(0.3)
    assert site.workers() == []
    jobs = [await site.submit(0.2) for _ in range(14)]

    most = 0

    async def are_three() -> bool:
        nonlocal most
        most = max(most, len(site.workers()))
        return len(site.workers("running")) == 3

    await until(are_three)
    outputs = [await site.output(job) for job in jobs]
    assert len({output["worker"] for output in outputs}) == most == 3
    await until(lambda: site.workers() == [])
    assert await site.health() == dict.fromkeys(await site.health(), 0)


@pytest.mark.fact("C4-request-count")
async def test_request_count_starts_all_that_are_needed_at_once(open_site: Opener) -> None:
    site = await open_site(scaler=Scaler.REQUEST_COUNT, scaler_value=2, max_workers=4)
    for _ in range(5):
        await site.submit(1.0)
    await until(lambda: len(site.workers()) == 3)
    assert site.emulator.overview()["scaling"] == {
        "scaler": "REQUEST_COUNT",
        "value": 2,
        "min": 0,
        "max": 4,
        "wanted": 3,
    }


@pytest.mark.fact("A9-low-priority-does-not-scale")
async def test_low_priority_jobs_start_no_worker_and_use_those_there_are(open_site: Opener) -> None:
    site = await open_site()
    patient = await site.submit(policy={"lowPriority": True})
    await asyncio.sleep(0.6)
    assert site.workers() == []
    assert (await site.call("GET", f"/status/{patient}"))["status"] == "IN_QUEUE"
    ordinary = await site.submit()
    assert await site.output(ordinary) == await site.output(patient)


async def test_a_job_that_comes_at_the_end_of_the_idle_time_is_never_lost(open_site: Opener) -> None:
    """Jobs at every distance around the idle timeout: some meet a worker that is being ended."""
    site = await open_site(idle_seconds=0.2, max_workers=1, scaler_value=0.1)
    for milliseconds in range(0, 420, 30):
        await site.output(await site.submit())
        await asyncio.sleep(milliseconds / 1000)
    health = await site.call("GET", "/health")
    assert (health["jobs"]["completed"], health["jobs"]["retried"]) == (14, 0)


async def test_a_worker_gets_no_job_from_the_moment_in_which_it_is_told_to_end(open_site: Opener) -> None:
    site = await open_site(min_workers=1, max_workers=2, idle_seconds=60)
    await until(lambda: len(site.workers("idle")) == 1)
    [worker] = site.workers()
    assert site.emulator.fleet is not None
    await asyncio.sleep(0.1)  # its job-take is held
    assert site.emulator.fleet.replace(worker["id"])
    job = site.emulator.jobs.submit(JobRequest({"seconds": 0.0}, 60, 60)).id
    site.emulator._endpoint.changed()
    assert (await site.output(job))["worker"] != worker["id"]
    assert "retries" not in await site.call("GET", f"/status/{job}")


@pytest.mark.fact("C6-idle-and-running")
async def test_states_agree_in_the_overview_and_in_health(open_site: Opener) -> None:
    site = await open_site(min_workers=2, max_workers=2)
    await until(lambda: len(site.workers("idle")) == 2)
    expected = {"idle": 2, "initializing": 0, "ready": 2, "running": 0, "throttled": 0, "unhealthy": 0}
    assert await site.health() == expected
    job = await site.submit(1.0)
    await until(lambda: len(site.workers("running")) == 1)
    assert await site.health() == {**expected, "idle": 1, "ready": 1, "running": 1}
    [running] = site.workers("running")
    assert running["job_ids"] == [job]
    assert state_of(running["pid"]) is not None
    await site.output(job)


@pytest.mark.fact("C6-initializing")
async def test_a_worker_that_was_not_heard_of_initialises(open_site: Opener) -> None:
    site = await open_site("never comes up", min_workers=1)
    await until(lambda: bool(site.emulator.fleet and site.emulator.fleet.workers))
    assert [worker["state"] for worker in site.workers()] == ["initializing"]
    assert (await site.health())["initializing"] == 1


async def test_workers_get_the_variables_that_are_meant_for_them(open_site: Opener) -> None:
    site = await open_site(environment={"GREETING": "hello", "RUNPOD_POD_ID": "not-this"})
    output = await site.output(await site.submit())
    assert output["text"] == "hello"
    assert output["worker"].startswith("local-")


@pytest.mark.fact("C6-billed-from-start-to-stop")
async def test_the_bill_grows_while_a_worker_lives_and_stays_when_it_is_gone(open_site: Opener) -> None:
    site = await open_site(price_per_second=0.5)
    began = time.monotonic()
    await site.output(await site.submit())
    assert [worker["dollars"] for worker in site.workers()] == [0.5]
    await until(lambda: site.workers() == [])
    lived = time.monotonic() - began
    spend = site.emulator.overview()["spend"]
    assert 1 <= spend["billed_seconds"] <= lived + 1
    assert spend == {**spend, "dollars": spend["billed_seconds"] * 0.5, "price_per_second": 0.5}


async def test_without_a_fleet_there_is_nothing_to_show_and_nothing_to_pay() -> None:
    async with RunPodEmulator() as emulator:
        overview = emulator.overview()
    assert (overview["emulated"], overview["endpoint_id"], overview["scaling"]) == (True, "local", None)
    assert (overview["workers"], overview["spend"]["dollars"]) == ([], 0)
