"""A job whose connections to ComfyUI are cut, for real, by a proxy in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest_asyncio
from worker_jobs import job, make_handler, queue_of, sampling, save_color, wait_until_sampling

from comfypod.comfyui.client import Patience


class Proxy:
    """Passes TCP on to ``target``; can cut every connection, and keep new ones waiting."""

    def __init__(self, target: str) -> None:
        self._host, self._port = urlsplit(target).hostname, urlsplit(target).port
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.connections = 0
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection, without a close frame."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def hold(self) -> None:
        """Take no new connection's bytes until `release`."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        self._tasks.add(asyncio.create_task(self._connect(reader, writer)))

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        self._writers.add(far_writer)
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


@pytest_asyncio.fixture
async def proxy(comfyui_url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(comfyui_url)
    await proxy.start()
    yield proxy
    await proxy.stop()


async def test_a_job_survives_a_cut_connection(proxy: Proxy, checkpoint: str) -> None:
    updates: list[Mapping[str, Any]] = []

    async def send(_: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        updates.append(value)

    task = asyncio.create_task(make_handler(proxy.url, send)(job(**sampling(checkpoint, steps=60))))
    await wait_until_sampling(updates)
    before = proxy.connections
    proxy.cut()
    answer = await task
    assert answer["status"] == "success", answer
    assert proxy.connections > before
    assert updates[-1]["value"] > updates[0]["value"]


async def test_a_prompt_that_ended_while_nobody_listened_is_found(
    proxy: Proxy, comfyui_url: str, checkpoint: str
) -> None:
    updates: list[Mapping[str, Any]] = []

    async def send(_: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        updates.append(value)

    task = asyncio.create_task(make_handler(proxy.url, send)(job(**sampling(checkpoint, steps=30))))
    await wait_until_sampling(updates)
    proxy.hold()
    proxy.cut()
    async with asyncio.timeout(60):
        while any((await queue_of(comfyui_url)).values()):
            await asyncio.sleep(0.01)
    proxy.release()
    begun = time.monotonic()
    assert (await task)["status"] == "success"
    assert time.monotonic() - begun < Patience().silence_seconds  # asked for at once


async def test_a_comfyui_that_takes_connections_and_says_nothing_ends_with_the_deadline(proxy: Proxy) -> None:
    proxy.hold()
    answer = await make_handler(proxy.url)(job(workflow=save_color(21), timeout_seconds=0.5))
    assert (answer["status"], answer["code"]) == ("timeout", "deadline_exceeded")
    assert answer["timings"]["total_ms"] < 5000
