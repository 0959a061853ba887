"""What is kept open between jobs: opened once, closed with the event loop, and made anew in the next one."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from comfypod.deadline import Deadline
from comfypod.settings import Settings
from comfypod.storage.download import ByteBudget
from comfypod.storage.models.manifest import ModelManifest
from comfypod.worker.kept import Kept
from comfypod.worker.outside import Outside

ROOT = Path(__file__).parents[2]


def recorded(log: list[str], *failures: Exception) -> Callable[[], AbstractAsyncContextManager[int]]:
    """Makes resources that note their opening and closing; the first ones fail."""
    left = list(failures)

    @asynccontextmanager
    async def make() -> AsyncIterator[int]:
        await asyncio.sleep(0)
        if left:
            raise left.pop(0)
        log.append("opened")
        try:
            yield len(log)
        finally:
            await asyncio.sleep(0)
            log.append("closed")

    return make


def test_it_is_opened_once_and_closed_when_the_loop_ends() -> None:
    log: list[str] = []
    kept = Kept(recorded(log))

    async def use() -> None:
        first, second = await asyncio.gather(kept.get(), kept.get())
        assert first == second == await kept.get()
        assert log[-1] == "opened"

    asyncio.run(use())
    assert log == ["opened", "closed"]
    asyncio.run(use())
    assert log == ["opened", "closed"] * 2


async def test_what_could_not_be_opened_is_told_to_all_and_tried_again() -> None:
    kept = Kept(recorded([], OSError("no"), OSError("still no")))
    outcomes = await asyncio.gather(kept.get(), kept.get(), return_exceptions=True)
    assert [str(item) for item in outcomes] == ["no", "no"]
    with pytest.raises(OSError, match="still no"):
        await kept.get()
    assert await kept.get() == 1


async def test_a_use_that_is_cancelled_takes_it_from_nobody() -> None:
    log: list[str] = []
    kept = Kept(recorded(log))
    uses = [asyncio.create_task(kept.get()) for _ in range(2)]
    await asyncio.sleep(0)
    uses[0].cancel()
    assert await uses[1] == 1
    assert log == ["opened"]


class Peers:
    """Counts the connections over which requests come."""

    def __init__(self) -> None:
        self.seen: set[object] = set()
        self.requests: list[tuple[str, str | None]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.add(request.transport)
        self.requests.append((await request.text(), request.headers.get("X-Request-ID")))
        return web.Response(body=b"fox")


@asynccontextmanager
async def served() -> AsyncIterator[tuple[TestServer, Peers]]:
    peers, application = Peers(), web.Application()
    application.router.add_route("*", "/{path:.*}", peers.answer)
    async with TestServer(application) as server:
        yield server, peers


async def test_the_connections_of_a_job_serve_the_next_one(tmp_path: Path) -> None:
    async with served() as (server, peers):
        settings = Settings.from_environment({"DOWNLOAD_ALLOWED_HOSTS": "127.0.0.1"})
        outside = Outside(settings, ModelManifest(), {})
        for number in range(3):
            async with outside.open() as network:
                url, target = str(server.make_url("/a.png")), tmp_path / str(number)
                await network.downloader.fetch(url, target, Deadline.after(10), budget=ByteBudget(100))
        assert len(peers.requests) >= 3
        assert len(peers.seen) == 1


# In a process of its own: the SDK reads its addresses when it is imported.
PROGRESS_SCRIPT = """
import asyncio, rp_handler
async def main():
    send = rp_handler._progress_sender()
    for number in range(5):
        await send({"id": "a"}, {"number": number})
    await asyncio.gather(*(send({"id": name}, {"name": name}) for name in "bcd"))
asyncio.run(main())
"""


async def test_progress_goes_over_connections_that_stay_open() -> None:
    async with served() as (server, peers):
        url = str(server.make_url("/job-done/$RUNPOD_POD_ID/$ID?gpu=x"))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error::ResourceWarning", "-c", PROGRESS_SCRIPT),
            cwd=ROOT,
            env={"RUNPOD_WEBHOOK_POST_OUTPUT": url, "RUNPOD_POD_ID": "w"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            _, errors = await process.communicate()
        assert (process.returncode, b"ResourceWarning" in errors) == (0, False), errors.decode()
        sent = [(json.loads(text)["output"], name) for text, name in peers.requests]
        assert sent[:5] == [({"number": number}, "a") for number in range(5)]
        assert sorted(sent[5:], key=str) == [({"name": name}, name) for name in "bcd"]
        assert len(peers.seen) == 3


def test_what_is_kept_stays_open_though_nobody_holds_it() -> None:
    log: list[str] = []

    async def main() -> None:
        await Kept(recorded(log)).get()
        gc.collect()
        await asyncio.sleep(0)
        log.append("collected")

    asyncio.run(main())
    assert log == ["opened", "collected", "closed"]
