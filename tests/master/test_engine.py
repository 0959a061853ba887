"""DBOS around a piece of work: order, limits, deaths and handovers. Each test has the one engine of this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import psutil
import pytest
import sqlalchemy as sa

from comfypod.errors import IdempotencyKeyReused
from comfypod.master.documents import NewRequest, Outcome
from comfypod.master.engine import Engine, EngineOptions, migrate, open_store
from comfypod.master.store import Store
from tests.master.workplace import until
from tests.postgres_server import PostgresServer

Ask = Callable[..., NewRequest]


@pytest.fixture
def url(empty_url: str) -> str:
    migrate(empty_url)
    return empty_url


@pytest.fixture
def queue(url: str) -> Iterator[Store]:
    """The store as front ends open it."""
    store = open_store(url)
    yield store
    store.close()


class Work:
    """What a test does with requests: notes them, and ends them when it is let."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.begun: list[tuple[str, int]] = []
        self.ended: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.gate = asyncio.Event()

    async def __call__(self, key: str, run: int) -> None:
        self.begun.append((key, run))
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await self.gate.wait()
            await asyncio.to_thread(self._store.finish, key, run, Outcome(state="succeeded"))
            self.ended.append(key)
        finally:
            self.at_once -= 1


@asynccontextmanager
async def running(
    url: str, work: Callable[[str, int], Awaitable[None]], name: str = "m0", kept_seconds: float = 3600.0
) -> AsyncIterator[Engine]:
    engine = Engine(EngineOptions(url, name, 2, kept_seconds), work)
    await engine.start()
    try:
        yield engine
    finally:
        engine.hand_over()
        await engine.stop()


async def test_requests_are_begun_in_their_order_and_never_too_many(url: str, queue: Store, ask: Ask) -> None:
    keys = [queue.submit(ask(f"a-{number}", user="ann")).request.key for number in range(3)]
    keys.append(queue.submit(ask("b-0", user="bob")).request.key)
    keys.append(queue.submit(ask("c-0", user="cid", priority="high")).request.key)
    work = Work(queue)
    async with running(url, work):
        await until(lambda: len(work.begun) == 2, "the first two")
        work.gate.set()
        await until(lambda: len(work.ended) == 5, "all of them")
    # The urgent one, then one of each user by turns.
    assert [key for key, _ in work.begun] == [keys[4], keys[0], keys[3], keys[1], keys[2]]
    assert work.most_at_once == 2


async def test_a_submission_that_fails_queues_nothing(url: str, queue: Store, ask: Ask) -> None:
    first = queue.submit(ask("same")).request
    assert queue.submit(ask("same")).request.key == first.key
    with pytest.raises(IdempotencyKeyReused):
        queue.submit(ask("same", job_input={"prompt": "a wolf"}))
    work = Work(queue)
    work.gate.set()
    async with running(url, work):
        await until(lambda: work.ended == [first.key], "the request")
        await asyncio.sleep(0.5)
    assert work.begun == [(first.key, 1)]


async def test_what_was_handed_over_goes_on_with_the_next_start(url: str, queue: Store, ask: Ask) -> None:
    key = queue.submit(ask()).request.key
    work = Work(queue)
    async with running(url, work):
        await until(lambda: work.begun, "the request")
    assert work.ended == []
    work.gate.set()
    async with running(url, work):
        await until(lambda: work.ended == [key], "the request")


async def test_another_master_adopts_what_one_left(url: str, queue: Store, ask: Ask) -> None:
    keys = {queue.submit(ask(f"a-{number}", user=f"user-{number}")).request.key for number in range(2)}
    work = Work(queue)
    async with running(url, work, "m0"):
        await until(lambda: len(work.begun) == 2, "both requests")
    async with running(url, work, "m1") as engine:
        assert await engine.executors() == {"m0"}
        work.gate.set()
        await asyncio.sleep(0.5)
        assert work.ended == []
        assert await engine.adopt({"m0"}) == 2
        assert await engine.adopt({"m0"}) == 0
        await until(lambda: set(work.ended) == keys, "both requests")


async def test_draining_finishes_what_was_begun_and_nothing_else(url: str, queue: Store, ask: Ask) -> None:
    for number in range(4):
        queue.submit(ask(f"a-{number}", user=f"user-{number}"))
    work = Work(queue)
    engine = Engine(EngineOptions(url, "m0", 2), work)
    await engine.start()
    await until(lambda: len(work.begun) == 2, "two requests")
    stopping = asyncio.create_task(engine.stop())
    await asyncio.sleep(0.5)
    assert not stopping.done()
    work.gate.set()
    async with asyncio.timeout(10):
        await stopping
    assert len(work.ended) == len(work.begun) == 2
    assert queue.counts() == {"succeeded": 2, "queued": 2}


async def test_draining_can_be_cut_short(url: str, queue: Store, ask: Ask) -> None:
    queue.submit(ask())
    work = Work(queue)
    engine = Engine(EngineOptions(url, "m0", 2), work)
    await engine.start()
    await until(lambda: work.begun, "the request")
    stopping = asyncio.create_task(engine.stop())
    await asyncio.sleep(0.2)
    engine.hand_over()
    async with asyncio.timeout(5):
        await stopping
    assert work.ended == []


async def test_a_replay_is_a_workflow_of_its_own(url: str, queue: Store, ask: Ask) -> None:
    request = queue.submit(ask()).request
    queue.cancel(request.key)
    work = Work(queue)
    work.gate.set()
    async with running(url, work):
        queue.replay(request.key)
        await until(lambda: (request.key, 2) in work.begun, "the second run")


async def test_rows_of_ended_workflows_are_removed(url: str, queue: Store, ask: Ask) -> None:
    queue.submit(ask())
    work = Work(queue)
    work.gate.set()
    async with running(url, work, kept_seconds=-1.0) as engine:
        await until(lambda: workflows(queue) == {"SUCCESS": 1}, "its end")
        await engine.sweep()
        assert workflows(queue) == {}


def workflows(queue: Store) -> dict[str, int]:
    """How many of DBOS's are in each state."""
    table = "workflow_status" if queue.engine.dialect.name == "sqlite" else "dbos.workflow_status"
    with queue.engine.begin() as connection:
        rows = connection.execute(sa.text(f"SELECT status, count(*) FROM {table} GROUP BY status"))  # noqa: S608
        return {row[0]: row[1] for row in rows}


async def test_it_is_quiet_and_calls_nobody(
    url: str, queue: Store, ask: Ask, capfd: pytest.CaptureFixture[str]
) -> None:
    queue.submit(ask())
    work = Work(queue)
    work.gate.set()
    async with running(url, work):
        await until(lambda: work.ended, "the request")
        connections = psutil.Process().net_connections("inet")
        outside = [item for item in connections if item.raddr and not item.raddr.ip.startswith(("127.", "::1"))]
    assert outside == []
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("dbos").level == logging.WARNING


async def test_a_database_that_goes_away_and_comes_back_costs_nothing(ask: Ask) -> None:
    with PostgresServer() as server:
        url = server.create_database()
        migrate(url)
        queue = open_store(url)
        first = queue.submit(ask("first")).request.key
        work = Work(queue)
        async with running(url, work):
            await until(lambda: work.begun, "the request")
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(1)
            await asyncio.to_thread(server.start)
            work.gate.set()
            await until(lambda: work.ended == [first], "the first request")
            second = queue.submit(ask("second")).request.key
            await until(lambda: work.ended == [first, second], "the second request")
        queue.close()
