"""FlashBoot: workers that are frozen in place of ended, and what becomes of them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from comfypod.emulator.fleet.options import Scaler
from comfypod.emulator.fleet.process_tree import FrozenGuard
from tests.emulator.fleet_site import WORKER, Opener, fleet_sites, is_gone, state_of
from tests.emulator.wire import until


@pytest.fixture
async def open_site(tmp_path: Path) -> AsyncIterator[Opener]:
    """Start an emulator with this kind of worker and these options of its fleet."""
    async with fleet_sites(tmp_path) as open_one:
        yield open_one


@pytest.mark.fact("C4-flashboot")
async def test_a_worker_is_frozen_with_its_children_and_revived_by_the_next_job(open_site: Opener) -> None:
    site = await open_site("has a child", flash_boot=True, max_workers=1)
    first = await site.output(await site.submit())
    await until(lambda: len(site.workers("frozen")) == 1)
    pids = [int((site.notes / f"{first['worker']}{suffix}").read_text()) for suffix in ("", ".child")]
    await until(lambda: [state_of(pid) for pid in pids] == ["T", "T"])
    billed = site.emulator.overview()["spend"]["billed_seconds"]
    assert not (site.notes / "refused").exists()
    health = await site.health()
    assert (health["idle"], health["ready"], health["initializing"]) == (1, 1, 0), (
        "scaled down, in the platform's words"
    )

    await asyncio.sleep(1.1)
    assert site.emulator.overview()["spend"]["billed_seconds"] == billed, "frozen is not billed"
    second = await site.output(await site.submit())
    assert second["worker"] == first["worker"], "it was not started anew"
    assert (site.notes / "refused").read_text().split() == [first["worker"]], "one 400 after the revival"
    assert site.emulator.fleet is not None
    await until(lambda: len(site.workers("frozen")) == 1)
    assert site.emulator.fleet._guard._frozen == {first["worker"]}
    await site.submit(0.5)
    await until(lambda: len(site.workers("running")) == 1)
    assert site.emulator.fleet._guard._frozen == set(), "what runs must not be killed as if it were frozen"
    assert site.emulator.overview()["spend"]["billed_seconds"] > billed


async def test_frozen_workers_end_with_the_emulator(open_site: Opener) -> None:
    site = await open_site("has a child", flash_boot=True, max_workers=2, scaler=Scaler.REQUEST_COUNT, scaler_value=1)
    for job in [await site.submit(0.3) for _ in range(2)]:
        await site.output(job)
    await until(lambda: len(site.workers("frozen")) == 2)
    pids = [int(path.read_text()) for path in site.notes.glob("local-*")]
    assert len(pids) == 4
    began = time.monotonic()
    await site.emulator.stop()
    assert time.monotonic() - began < 2
    # Every one was sent SIGKILL, and of the children no one hears when the kernel has carried it out.
    await until(lambda: all(map(is_gone, pids)))


async def test_a_frozen_worker_that_is_killed_is_forgotten(open_site: Opener) -> None:
    site = await open_site(flash_boot=True, max_workers=1)
    first = await site.output(await site.submit())
    await until(lambda: len(site.workers("frozen")) == 1)
    os.kill(site.workers()[0]["pid"], signal.SIGKILL)
    await until(lambda: site.workers() == [])
    assert site.emulator.fleet is not None
    assert site.emulator.fleet.failed_starts == 0
    assert (await site.output(await site.submit()))["worker"] != first["worker"]


KILLED = """
import asyncio, sys
from comfypod.emulator.fleet.options import FleetOptions
from comfypod.emulator.platform.requests import JobRequest
from comfypod.emulator.runpod import RunPodEmulator
async def main():
    fleet = FleetOptions(command=sys.argv[1:], idle_seconds=0.2, max_workers=1, flash_boot=True)
    async with RunPodEmulator(fleet=fleet) as emulator:
        job = emulator.jobs.submit(JobRequest({"seconds": 0.0}, 60, 60))
        while not any(worker["state"] == "frozen" for worker in emulator.overview()["workers"]):
            await asyncio.sleep(0.05)
        print("frozen", flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_a_killed_emulator_leaves_no_frozen_worker(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-I", "-S", str(tmp_path / "worker.py"), str(tmp_path), "has a child"]
    emulator = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, *command, stdout=asyncio.subprocess.PIPE
    )
    assert emulator.stdout is not None
    try:
        assert await asyncio.wait_for(emulator.stdout.readline(), 10) == b"frozen\n"
        pids = [int(path.read_text()) for path in tmp_path.glob("local-*")]
        assert len(pids) == 2
        await until(lambda: [state_of(pid) for pid in pids] == ["T", "T"])
    finally:
        emulator.kill()
        await emulator.wait()
    await until(lambda: all(map(is_gone, pids)))


async def test_workers_stay_guarded_when_the_guard_is_killed() -> None:
    guard = FrozenGuard()
    workers = []
    try:
        for name in ("local-first", "local-second"):
            environment = {**os.environ, "RUNPOD_POD_ID": f"{name}-{os.getpid()}"}
            command = [sys.executable, "-c", "import time; time.sleep(600)"]
            workers.append(await asyncio.create_subprocess_exec(*command, env=environment))
            guard.add(environment["RUNPOD_POD_ID"])
            if name == "local-first":
                assert guard._process is not None
                guard._process.kill()
                guard._process.wait()
        guard.close()
        await until(lambda: all(is_gone(worker.pid) for worker in workers))
    finally:
        for worker in workers:
            with suppress(ProcessLookupError):
                worker.kill()
            await worker.wait()
