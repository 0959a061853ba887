"""The state file of the local RunPod: what is in it, which files it refuses, and what a killed emulator leaves."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comfypod.emulator.platform.endpoint import EmulatedEndpoint
from comfypod.emulator.platform.jobs import EndpointJobs, RetryRefused
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.requests import JobRequest, Limits
from comfypod.emulator.platform.store import JobStore


class Bench:
    """An endpoint with a state file; `reopened` is what the next process would have."""

    def __init__(self, path: Path, now: float = 1000.0) -> None:
        self.now = now
        self.path = path
        self.jobs = EndpointJobs(lambda: self.now)
        self.store = JobStore(path)
        self.jobs.restore(*self.store.load())

    def submit(self, **body: object) -> str:
        document = {"input": {"prompt": "Straße \ud800"}, **body}
        return self.jobs.submit(JobRequest.parse(document, self.jobs.limits)).id

    def keep(self) -> None:
        self.store.save(self.jobs.take_changes(), self.jobs.totals)

    def reopened(self, after_seconds: float = 0.0) -> Bench:
        self.keep()
        self.store.close()
        return Bench(self.path, self.now + after_seconds)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


@contextmanager
def closing(path: Path) -> Iterator[Callable[..., Bench]]:
    """A chain of endpoints on the same file, the last of which is closed."""
    current = Bench(path)

    def reopen(after_seconds: float = 0.0) -> Bench:
        nonlocal current
        current = current.reopened(after_seconds)
        return current

    try:
        yield reopen
    finally:
        current.store.close()


def test_everything_about_a_job_outlives_the_process(path: Path) -> None:
    with closing(path) as reopen:
        bench = reopen()
        ended = bench.submit(webhook="http://x/", s3Config={"bucketName": "b"}, policy={"ttl": 60_000})
        bench.jobs.take("w1")
        bench.now += 2
        bench.jobs.add_to_stream("w1", ended, "chunk")
        bench.jobs.report("w1", ended, {"error": "no", "output": {"x": [1.5, None]}})
        before = bench.jobs.status(ended)
        waiting = [bench.submit(), bench.submit(policy={"lowPriority": True}), bench.submit()]
        totals = dict(bench.jobs.totals)

        bench = reopen(after_seconds=3)
        assert bench.jobs.status(ended) == before
        assert bench.jobs.totals == totals
        assert [notice.job_id for notice in bench.jobs.take_notices()] == [ended], "the webhook was not called yet"
        bench.jobs.webhook_ended(ended)
        taken = bench.jobs.take("w2", 5)
        assert [job["id"] for job in taken] == [waiting[0], waiting[2], waiting[1]]
        assert taken[0]["input"] == {"prompt": "Straße \ud800"}
        assert bench.jobs.status(waiting[0])["delayTime"] == 3000
        assert bench.jobs.drain_stream(ended) == ["chunk"]

        bench = reopen()
        assert bench.jobs.take_notices() == []
        assert bench.jobs.drain_stream(ended) == []
        assert bench.jobs.retry(ended)["status"] == "IN_QUEUE"
        job = bench.jobs.take("w3")[0]
        assert (job["webhook"], job["s3Config"]) == ("http://x/", {"bucketName": "b"})

        bench = reopen(after_seconds=60)
        bench.jobs.sweep()
        assert ended not in {job["id"] for job in bench.jobs.requests(10)["requests"]}, "its time to live is over"
        bench = reopen()
        assert len(bench.jobs.requests(10)["requests"]) == 3


def test_order_of_the_queue_outlives_the_process(path: Path) -> None:
    with closing(path) as reopen:
        bench = reopen()
        lost, second = bench.submit(), bench.submit()
        bench.jobs.take("w1")
        bench.now += 40
        bench.jobs.sweep()
        third = bench.submit()
        bench = reopen()
        fourth = bench.submit()
        assert [job["id"] for job in bench.jobs.take("w2", 5)] == [lost, second, third, fourth]


def test_running_job_stays_with_its_worker_until_it_counts_as_lost(path: Path) -> None:
    with closing(path) as reopen:
        bench = reopen()
        job_id = bench.submit()
        bench.jobs.take("w1")
        bench = reopen(after_seconds=500)
        bench.jobs.sweep()
        assert bench.jobs.status(job_id)["status"] == "IN_PROGRESS"
        bench.now += 40
        bench.jobs.sweep()
        assert bench.jobs.status(job_id)["retries"] == 1

        bench.jobs.take("w1")
        bench = reopen()
        assert bench.jobs.report("w1", job_id, {"output": 1}), "a worker that outlived the emulator may still report"


@pytest.mark.parametrize("drained", [0, 1])
def test_chunks_are_kept_one_by_one(path: Path, drained: int) -> None:
    with closing(path) as reopen:
        bench = reopen()
        job_id = bench.submit()
        bench.jobs.take("w1")
        expected: list[Any] = []
        for number in range(3):
            bench.jobs.add_to_stream("w1", job_id, number)
            expected.append(number)
            bench.keep()
            if number < drained:
                undelivered = bench.jobs.drain_stream(job_id)
                bench.keep()
                bench.jobs.return_to_stream(job_id, undelivered)
                bench.keep()
        bench = reopen()
        bench.jobs.add_to_stream("w1", job_id, "last")
        bench = reopen()
        assert bench.jobs.drain_stream(job_id) == [*expected, "last"]


class Chance:
    """Does to an endpoint whatever may happen to one, in an order of its own; the same seed does the same."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311

    def do_something(self, bench: Bench) -> None:
        bench.now += self._random.choice((0.001, 1.0, 1.0, 25.0))
        job_ids = [job["id"] for job in bench.jobs.requests(1000)["requests"]]
        worker_id = self._random.choice(("w1", "w2"))
        if not job_ids or self._random.random() < 0.3:
            bench.submit(policy={"lowPriority": self._random.random() < 0.3, "ttl": 300_000})
        elif self._random.random() < 0.4:
            bench.jobs.take(worker_id, self._random.choice((1, 2)))
        else:
            action = self._random.choice((self._report, self._stream, self._ask, self._ask))
            its_own = bench.jobs.jobs_of(worker_id) if self._random.random() < 0.7 else []
            action(bench, worker_id, self._random.choice(its_own or job_ids))
        bench.jobs.sweep()

    def _report(self, bench: Bench, worker_id: str, job_id: str) -> None:
        body = self._random.choice(
            ({"output": 1}, {"error": "no"}, {}, {"status": "IN_PROGRESS", "output": {"value": 0.5}}, None)
        )
        if body is None:
            bench.jobs.refuse_result(worker_id, job_id)
        else:
            bench.jobs.report(worker_id, job_id, body)

    def _stream(self, bench: Bench, worker_id: str, job_id: str) -> None:
        bench.jobs.add_to_stream(worker_id, job_id, self._random.random())
        if self._random.random() < 0.5:
            chunks = bench.jobs.drain_stream(job_id)
            if self._random.random() < 0.5:
                bench.jobs.return_to_stream(job_id, chunks)

    def _ask(self, bench: Bench, worker_id: str, job_id: str) -> None:
        match self._random.choice(("cancel", "retry", "retry", "give back", "purge", "ping")):
            case "cancel":
                bench.jobs.cancel(job_id)
            case "retry":
                with suppress(RetryRefused):
                    bench.jobs.retry(job_id)
            case "give back":
                bench.jobs.give_back(worker_id, bench.jobs.jobs_of(worker_id)[:1])
            case "purge" if self._random.random() < 0.2:
                bench.jobs.purge()
            case _:
                bench.jobs.ping(worker_id, [job_id])


def snapshot(bench: Bench) -> object:
    """All that a client or a worker could learn without changing anything, and the order of what waits."""
    jobs = bench.jobs
    streams = {job.id: list(job.stream.chunks) for job in jobs._jobs.values()}
    return jobs.requests(1000), [job.id for job in jobs._queue], jobs.health()["jobs"], streams


@pytest.mark.parametrize("seed", range(8))
def test_restart_changes_nothing_whatever_happened_before(path: Path, seed: int) -> None:
    chance = Chance(seed)
    with closing(path) as reopen:
        bench = reopen()
        for _ in range(30):
            for _ in range(10):
                chance.do_something(bench)
                parts = [job.id for job in bench.jobs._queue], bench.jobs._running, bench.jobs._ended
                assert sorted(chain(*parts)) == sorted(bench.jobs._jobs), "every job waits, runs or has ended"
            before = snapshot(bench)
            bench = reopen()
            assert snapshot(bench) == before
        assert all(bench.jobs.totals.values()), "jobs ended in every way"


@asynccontextmanager
async def living(endpoint: EmulatedEndpoint) -> AsyncIterator[None]:
    life = endpoint.lifetime()
    await anext(life)
    try:
        yield
    finally:
        with pytest.raises(StopAsyncIteration):
            await anext(life)


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """No file may grow, which to SQLite is a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = path.with_name(path.name + "-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_did_not_fit_on_the_disk_can_be_saved_again(path: Path) -> None:
    with closing(path) as reopen:
        bench = reopen()
        small, large = bench.submit(), bench.submit(input="x" * 100_000)
        changes = bench.jobs.take_changes()
        with full_disk(path), pytest.raises(OSError, match="cannot be used"):
            bench.store.save(changes, {"completed": 6})
        bench.store.save(changes, bench.jobs.totals)
        bench = reopen()
        assert [job["id"] for job in bench.jobs.take("w1", 2)] == [small, large]


async def test_full_disk_is_told_until_there_is_room_again(path: Path) -> None:
    endpoint = EmulatedEndpoint(PlatformOptions(state_file=path))
    request = JobRequest.parse({"input": "x" * 100_000}, endpoint.jobs.limits)
    async with living(endpoint):
        with full_disk(path):
            job = endpoint.jobs.submit(request)
            endpoint.changed()
            assert endpoint.state_failure is not None
            assert path.name in endpoint.state_failure
        endpoint.changed()
        assert endpoint.state_failure is None
    again = EmulatedEndpoint(PlatformOptions(state_file=path))
    async with living(again):
        assert again.jobs.status(job.id)["status"] == "IN_QUEUE"


def test_only_the_owner_may_read_the_file(path: Path) -> None:
    with closing(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_second_emulator_is_refused(path: Path) -> None:
    with closing(path), pytest.raises(OSError, match="Another emulator uses it"):
        JobStore(path)


def test_directory_that_does_not_exist_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        JobStore(tmp_path / "nowhere" / "state")


@contextmanager
def foreign(path: Path) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(path)
    try:
        yield database
        database.commit()
    finally:
        database.close()


def test_file_that_is_not_ours_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"my diary " * 500)
    with pytest.raises(ValueError, match="no state file"):
        JobStore(path)
    assert path.read_bytes() == b"my diary " * 500

    path.unlink()
    with foreign(path) as database:
        database.execute("CREATE TABLE diary (day TEXT)")
    with pytest.raises(ValueError, match="another program"):
        JobStore(path)
    with foreign(path) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("diary",)]


def test_file_of_another_version_is_refused(path: Path) -> None:
    JobStore(path).close()
    with foreign(path) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(ValueError, match=r"another version of comfypod \(99, not 1\)"):
        JobStore(path)


@pytest.mark.parametrize("damage", ["DELETE FROM request", "UPDATE job SET state = '{'", "DROP TABLE chunk"])
def test_damaged_file_is_refused_when_it_is_read(path: Path, damage: str) -> None:
    with closing(path) as reopen:
        reopen().submit()
        reopen()
    with foreign(path) as database:
        database.execute(damage)
    store = JobStore(path)
    try:
        with pytest.raises((ValueError, OSError), match=path.name):
            store.load()
    finally:
        store.close()


def test_webhook_of_a_second_end_is_due_until_it_was_told_itself(path: Path) -> None:
    """The first end's webhook may still be tried again when the job was retried and has ended once more."""
    with closing(path) as reopen:
        bench = reopen()
        job_id = bench.submit(webhook="http://x/")

        def fail() -> None:
            bench.jobs.take("w1")
            bench.jobs.report("w1", job_id, {"error": "no"})
            assert [notice.job_id for notice in bench.jobs.take_notices()] == [job_id]

        fail()
        bench.jobs.retry(job_id)
        fail()
        bench.jobs.webhook_ended(job_id)
        bench = reopen()
        assert [notice.job_id for notice in bench.jobs.take_notices()] == [job_id], "the second was not told yet"
        bench.jobs.webhook_ended(job_id)
        assert reopen().jobs.take_notices() == []


async def test_clock_goes_on_after_the_latest_moment_of_the_earlier_process(path: Path) -> None:
    """Also if the machine's clock was set back meanwhile."""
    in_a_year = 4e9
    with closing(path) as reopen:
        bench = reopen()
        bench.now = in_a_year
        job_id = bench.submit()
        reopen()
    endpoint = EmulatedEndpoint(PlatformOptions(state_file=path))
    async with living(endpoint):
        assert 0 <= endpoint.jobs.demand().longest_wait_seconds < 1
        endpoint.jobs.take("w1")
        assert 0 <= endpoint.jobs.status(job_id)["delayTime"] < 1000


async def test_state_file_that_cannot_be_used_ends_the_start(path: Path) -> None:
    path.write_bytes(b"x" * 5000)
    life = EmulatedEndpoint(PlatformOptions(state_file=path)).lifetime()
    with pytest.raises(ValueError, match=path.name):
        await anext(life)


KILLED = """
import asyncio, pathlib, sys
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.requests import Limits
from comfypod.emulator.runpod import RunPodEmulator

async def main():
    options = PlatformOptions(
        state_file=pathlib.Path(sys.argv[1]), poll_seconds=0.5, limits=Limits(lost_job_seconds=float(sys.argv[2]))
    )
    async with RunPodEmulator(platform=options) as emulator:
        print(emulator.base_url, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


class Process:
    """An emulator in a process of its own, which the test may kill."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, session: aiohttp.ClientSession) -> None:
        self.process = process
        self._url = url
        self._session = session

    async def send(self, method: str, path: str, body: Any = None) -> Any:
        key = "worker-local" if path.startswith("/job-") else "local"
        url = f"{self._url}/local{path}"
        async with self._session.request(method, url, json=body, headers={"Authorization": key}) as response:
            assert response.status in {200, 204}, await response.text()
            return json.loads(await response.text() or "null")

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def emulator(path: Path, session: aiohttp.ClientSession, lost_job_seconds: float) -> AsyncIterator[Process]:
    arguments = (sys.executable, "-c", KILLED, str(path), str(lost_job_seconds))
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        yield Process(process, line.decode().strip(), session)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_killed_emulator_loses_nothing_that_it_has_answered(path: Path) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        async with emulator(path, session, lost_job_seconds=60) as first:
            ids = [(await first.send("POST", "/run", {"input": {"n": number}}))["id"] for number in range(4)]
            for job_id in ids[:3]:
                assert (await first.send("GET", "/job-take/w1?gpu=x"))["id"] == job_id
            await first.send("POST", f"/job-done/w1/{ids[0]}?x", {"output": {"n": 0}})
            await first.send("POST", f"/job-done/w1/{ids[1]}?x", {"status": "IN_PROGRESS", "output": "half"})
            await first.send("POST", f"/job-stream/w1/{ids[1]}?x", {"output": "chunk"})
            await first.send("POST", f"/cancel/{ids[2]}")
            before = await first.send("GET", f"/status/{ids[0]}")
            await first.kill()

        async with emulator(path, session, lost_job_seconds=0.3) as second:
            assert await second.send("GET", f"/status/{ids[0]}") == before
            assert (await second.send("GET", f"/status/{ids[2]}"))["status"] == "CANCELLED"
            jobs = (await second.send("GET", "/health"))["jobs"]
            assert (jobs["completed"], jobs["inQueue"] + jobs["inProgress"]) == (1, 2)
            # Its worker is gone: it is lost, and retried once before the one that waited.
            async with asyncio.timeout(5):
                while (await second.send("GET", f"/status/{ids[1]}")).get("retries") != 1:
                    await asyncio.sleep(0.02)
            assert (await second.send("GET", f"/stream/{ids[1]}"))["stream"] == [{"output": "chunk"}]
            taken = [(await second.send("GET", "/job-take/w2?gpu=x"))["id"] for _ in range(2)]
            assert taken == [ids[1], ids[3]]
            assert (await second.send("GET", "/status/" + ids[3]))["delayTime"] > 0


def test_limits_are_not_part_of_the_file(path: Path) -> None:
    """A restart with shorter limits must not refuse what was accepted under longer ones."""
    with closing(path) as reopen:
        bench = reopen()
        job_id = bench.submit(policy={"executionTimeout": 5000})
        bench = reopen()
        bench.jobs.limits = Limits(minimum_execution_seconds=60)
        assert [job["id"] for job in bench.jobs.take("w1")] == [job_id]
