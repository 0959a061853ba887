"""The master as operators run it: a process that is killed, told to end, and drained."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from comfypod.master.documents import NewRequest
from comfypod.master.engine import migrate, open_store
from comfypod.master.store import Store
from tests.master.workplace import API_KEY, SECONDS, Answer, Job, Platform, Workers, commit, platform, until
from tests.s3_server import S3Server

Ask = Callable[..., NewRequest]
ROOT = Path(__file__).parents[2]


@dataclass
class Masters:
    """Starts masters, and ends what is left of them."""

    url: str
    environment: dict[str, str]
    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str, name: str = "m0", dies_at: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "comfypod"]
        if dies_at:
            command = [sys.executable, str(ROOT / "tests/master/dying_master.py"), dies_at]
        command += ["master", "run", "--database", self.url, "--endpoint", "ep", "--name", name, *arguments]
        process = subprocess.Popen(
            command,
            env={**os.environ, **self.environment, "PYTHONPATH": str(ROOT)},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    async def serving(self, *arguments: str, name: str = "m0") -> subprocess.Popen[str]:
        """One that takes requests."""
        process = self.start(*arguments, name=name)
        assert process.stdout is not None
        async with asyncio.timeout(SECONDS):
            assert await asyncio.to_thread(process.stdout.readline) == f"ready {name}\n"
        return process

    def stop(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate(timeout=SECONDS)


async def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and what it logged."""
    _, stderr = await asyncio.to_thread(process.communicate, timeout=SECONDS)
    return process.returncode, stderr


async def logged(process: subprocess.Popen[str], event: str) -> None:
    """Wait until it has logged this event."""
    assert process.stderr is not None
    async with asyncio.timeout(SECONDS):
        while event not in await asyncio.to_thread(process.stderr.readline):
            assert process.poll() is None


@pytest.fixture
async def site(s3_server: S3Server) -> AsyncIterator[Platform]:
    async with platform(s3_server, workers=2) as site:
        yield site


@pytest.fixture
def masters(tmp_path: Path, s3_server: S3Server, site: Platform) -> Iterator[Masters]:
    url = f"sqlite:///{tmp_path / 'requests.db'}"
    environment = {
        **s3_server.environment,
        "RUNPOD_API_KEY": API_KEY,
        "RUNPOD_ENDPOINT_BASE_URL": site.base_url,
        "HOME": str(tmp_path),
    }
    masters = Masters(url, environment, tmp_path)
    migrate(url)
    yield masters
    masters.stop()


@pytest.fixture
def store(masters: Masters) -> Iterator[Store]:
    store = open_store(masters.url)
    yield store
    store.close()


def are_ended(store: Store, *keys: str) -> bool:
    return all(store.get(key).state == "succeeded" for key in keys)


@pytest.mark.parametrize("point", ["after_post", "before_finish"])
async def test_a_killed_master_goes_on_after_its_restart(
    masters: Masters, store: Store, site: Platform, ask: Ask, point: str
) -> None:
    keys = [store.submit(ask(f"order-{number}", user=f"user-{number}")).request.key for number in range(3)]
    code, _ = await end(masters.start(dies_at=point))
    assert code == -signal.SIGKILL
    await masters.serving()
    await until(lambda: are_ended(store, *keys), "all results")
    assert len(site.workers.runs) == 3
    assert [len(store.outbox(key)) for key in keys] == [1, 1, 1]


async def test_sigterm_hands_over_within_seconds(masters: Masters, store: Store, site: Platform, ask: Ask) -> None:
    release = asyncio.Event()

    async def slowly(workers: Workers, job: Job) -> Answer:
        await release.wait()
        return await commit(workers, job)

    site.workers.script += [slowly]
    key = store.submit(ask()).request.key
    process = await masters.serving()
    await until(lambda: store.get(key).state == "running", "a worker at it")
    process.terminate()
    async with asyncio.timeout(8):
        code, log = await end(process)
    assert (code, "Traceback" in log) == (0, False)
    assert store.masters() == []
    assert store.get(key).state == "running"
    # Another one takes it over, without waiting for a silence.
    await masters.serving(name="m1")
    release.set()
    await until(lambda: are_ended(store, key), "the result")
    assert len(site.workers.runs) == 1


async def test_drain_finishes_what_runs(masters: Masters, store: Store, site: Platform, ask: Ask) -> None:
    release = asyncio.Event()

    async def slowly(workers: Workers, job: Job) -> Answer:
        await release.wait()
        return await commit(workers, job)

    site.workers.script += [slowly]
    key = store.submit(ask()).request.key
    process = await masters.serving()
    await until(lambda: store.get(key).state == "running", "a worker at it")
    assert store.ask_masters("drain", "m0") == 1
    await logged(process, "master_ends")
    later = store.submit(ask("later")).request.key
    await asyncio.sleep(1)
    release.set()
    code, log = await end(process)
    assert (code, "Traceback" in log) == (0, False), log
    assert (store.get(key).state, store.get(later).state) == ("succeeded", "queued")


async def test_a_name_belongs_to_who_began_last(masters: Masters, store: Store, ask: Ask) -> None:
    first = await masters.serving()
    await masters.serving()
    async with asyncio.timeout(15):
        code, log = await end(first)
    assert (code, "Traceback" in log, "displaced" in log) == (0, False, True), log
    key = store.submit(ask()).request.key
    await until(lambda: are_ended(store, key), "the result")


async def test_it_says_what_is_missing(masters: Masters) -> None:
    masters.environment["BUCKET_ENDPOINT_URL"] = ""
    masters.environment["BUCKET_NAME"] = ""
    code, log = await end(masters.start())
    assert code == 2
    assert "BUCKET_ENDPOINT_URL" in log
