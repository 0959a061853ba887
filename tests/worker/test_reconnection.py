"""A job whose connections to ComfyUI are cut, for real, by a proxy in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest_asyncio
from cutting_proxy import Proxy
from worker_jobs import job, make_handler, queue_of, sampling, save_color, wait_until_sampling

from comfypod.comfyui.client import Patience


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
