"""The fleet with real processes: small ones that speak the worker's side of the protocol, and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comfypod.emulator.fleet.options import FleetOptions, Scaler
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.requests import Limits
from comfypod.emulator.runpod import RunPodEmulator

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


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 5.0) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(seconds):
        while True:
            outcome = condition()
            if outcome if isinstance(outcome, bool) else await outcome:
                return
            await asyncio.sleep(0.01)


def state_of(pid: int) -> str | None:
    """The kernel's letter for a process: T is stopped, Z has ended; None: it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return None


def is_gone(pid: int) -> bool:
    return state_of(pid) in {None, "Z"}


Opener = Callable[..., Awaitable[Site]]


@pytest.fixture
async def open_site(tmp_path: Path) -> AsyncIterator[Opener]:
    """Start an emulator with this kind of worker and these options of its fleet."""
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
    pids = [int(path.read_text()) for path in tmp_path.glob("local-*")]
    await until(lambda: all(map(is_gone, pids)))


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


# FlashBoot.


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
    assert all(map(is_gone, pids))


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
