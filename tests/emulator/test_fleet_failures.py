"""The fleet when its workers crash, fall silent, fail their checks, or ask to be replaced."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.requests import Limits
from tests.emulator.fleet_site import Opener, fleet_sites, is_gone
from tests.emulator.wire import until


@pytest.fixture
async def open_site(tmp_path: Path) -> AsyncIterator[Opener]:
    """Start an emulator with this kind of worker and these options of its fleet."""
    async with fleet_sites(tmp_path) as open_one:
        yield open_one


@pytest.mark.fact("C6-init-timeout")
async def test_a_worker_that_does_not_come_up_is_unhealthy_and_tried_again(open_site: Opener) -> None:
    site = await open_site("never comes up", min_workers=1, max_workers=1, initialization_seconds=0.3, stop_seconds=0.2)
    await until(lambda: len(site.workers("unhealthy")) == 1)
    first = site.workers()[0]["id"]
    await until(lambda: [worker["id"] for worker in site.workers("initializing")] not in ([], [first]))
    assert site.emulator.fleet is not None
    assert site.emulator.fleet.failed_starts == 1


@pytest.mark.fact("B10-unhealthy-ping")
async def test_a_worker_whose_fitness_check_fails_is_ended(open_site: Opener) -> None:
    site = await open_site("unfit", min_workers=1, max_workers=1, stop_seconds=0.2)
    await until(lambda: len(site.workers("unhealthy")) == 1)
    assert (await site.health())["unhealthy"] == 1
    [note] = site.notes.glob("local-*")
    await until(lambda: is_gone(int(note.read_text())))


@pytest.mark.fact("C6-crash-loop")
async def test_while_workers_crash_jobs_wait_and_one_is_unhealthy(open_site: Opener) -> None:
    site = await open_site("crashes", max_workers=1)
    await site.submit()
    fleet = site.emulator.fleet
    assert fleet is not None
    await until(lambda: fleet.failed_starts == 2)
    [crashed] = site.workers()
    assert (crashed["state"], crashed["pid"], crashed["billed_seconds"]) == ("unhealthy", None, 1)
    health = await site.call("GET", "/health")
    assert (health["workers"]["unhealthy"], health["jobs"]["inQueue"]) == (1, 1)
    assert (site.notes / "log").read_text() == "no model\nno model\n"


async def test_an_active_worker_that_dies_is_replaced(open_site: Opener) -> None:
    site = await open_site(min_workers=1)
    await until(lambda: len(site.workers("idle")) == 1)
    [worker] = site.workers()
    os.kill(worker["pid"], signal.SIGKILL)
    await until(lambda: [other["id"] for other in site.workers("idle")] not in ([], [worker["id"]]))


async def test_a_worker_that_dies_unneeded_is_not_replaced(open_site: Opener) -> None:
    site = await open_site(idle_seconds=60)
    await site.output(await site.submit())
    await until(lambda: len(site.workers("idle")) == 1)
    [worker] = site.workers()
    os.kill(worker["pid"], signal.SIGKILL)
    await until(lambda: site.workers("idle", "ending", "initializing") == [])
    await asyncio.sleep(0.8)
    assert site.workers("idle", "initializing") == []


async def test_the_job_of_a_worker_that_was_killed_goes_to_the_next(open_site: Opener) -> None:
    site = await open_site(platform=PlatformOptions(limits=Limits(lost_job_seconds=0.7), poll_seconds=1))
    job = await site.submit(1.0)
    await until(lambda: len(site.workers("running")) == 1)
    [killed] = site.workers()
    os.kill(killed["pid"], signal.SIGKILL)
    # The second attempt lasts as long, and this worker sends no heartbeat: only the first loss is of interest.
    await until(lambda: len(site.workers("running")) == 1 and site.workers("running")[0]["id"] != killed["id"])
    assert (await site.call("GET", f"/status/{job}"))["retries"] == 1


@pytest.mark.fact("B3-stop-pod")
async def test_a_worker_that_asks_for_it_is_replaced(open_site: Opener) -> None:
    site = await open_site(max_workers=1, idle_seconds=60)
    first = await site.output(await site.submit(input={"refresh": True}))
    second = await site.output(await site.submit())
    assert first["worker"] != second["worker"]
    note = site.notes / first["worker"]
    assert is_gone(int(note.read_text()))


async def test_a_silent_worker_is_unhealthy_and_replaced(open_site: Opener) -> None:
    limits = Limits(silent_worker_seconds=1.5)
    site = await open_site(platform=PlatformOptions(limits=limits, poll_seconds=0.5), min_workers=1, stop_seconds=0.2)
    await until(lambda: len(site.workers("idle")) == 1)
    [worker] = site.workers()
    os.kill(worker["pid"], signal.SIGSTOP)
    await until(lambda: is_gone(worker["pid"]))
    await until(lambda: [other["id"] for other in site.workers("idle")] not in ([], [worker["id"]]))
