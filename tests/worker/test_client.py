"""The client on servers in states to which the built-in engine cannot be brought from outside."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from worker_jobs import save_color

from comfypod.comfyui.client import ComfyUI, Patience
from comfypod.comfyui.server import RemoteServer
from comfypod.deadline import Deadline
from comfypod.errors import DeadlineExceeded, PromptStalled
from comfypod.schema.workflow import Workflow


class DeadThread:
    """Takes prompts, keeps them pending, deletes them when asked to; ``running`` is somebody else's."""

    def __init__(self) -> None:
        self.pending: list[str] = []
        self.running: list[str] = []

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes(
            [
                web.get("/ws", self.listen),
                web.post("/prompt", self.submit),
                web.get("/queue", self.show_queue),
                web.post("/queue", self.delete),
                web.get("/history/{id}", self.answer),
                web.post("/history", self.answer),
                web.post("/interrupt", self.answer),
            ]
        )
        return application

    async def listen(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        return socket

    async def submit(self, request: web.Request) -> web.Response:
        self.pending.append((await request.json())["prompt_id"])
        return await self.answer(request)

    async def show_queue(self, _: web.Request) -> web.Response:
        return web.json_response({"queue_running": _items(self.running), "queue_pending": _items(self.pending)})

    async def delete(self, request: web.Request) -> web.Response:
        for prompt_id in (await request.json())["delete"]:
            self.pending.remove(prompt_id)
        return web.Response()

    async def answer(self, _: web.Request) -> web.Response:
        return web.json_response({})


def _items(prompt_ids: list[str]) -> list[list[Any]]:
    return [[0, prompt_id, {}, {}, []] for prompt_id in prompt_ids]


@pytest.fixture
def thread() -> DeadThread:
    return DeadThread()


@pytest_asyncio.fixture
async def server(thread: DeadThread) -> AsyncIterator[RemoteServer]:
    async with TestServer(thread.application()) as server:
        yield RemoteServer(str(server.make_url("")))


async def run(server: RemoteServer, timeout_seconds: float) -> None:
    patience = Patience(silence_seconds=0.1, stall_seconds=1)
    async with ComfyUI.at(server, patience) as comfyui:
        await comfyui.run(Workflow(save_color(1)), Deadline.after(timeout_seconds), lambda _: None)


async def test_a_prompt_that_nobody_takes_is_a_stall_and_the_server_no_good(
    server: RemoteServer, thread: DeadThread
) -> None:
    begun = time.monotonic()
    with pytest.raises(PromptStalled) as caught:
        await run(server, 10)
    assert time.monotonic() - begun < 6
    assert caught.value.node_id is None
    assert thread.pending == []
    assert server.refresh_reason is not None  # else the next job would wait as long


async def test_a_prompt_behind_another_is_none(server: RemoteServer, thread: DeadThread) -> None:
    thread.running.append("another")
    with pytest.raises(DeadlineExceeded):
        await run(server, 2)
    assert server.refresh_reason is None


class Chatty(DeadThread):
    """Runs a prompt to its end, and says much of it, before the connection of its ``POST /prompt`` is reset."""

    async def listen(self, request: web.Request) -> web.WebSocketResponse:
        self.socket = web.WebSocketResponse()
        await self.socket.prepare(request)
        async for _ in self.socket:
            pass
        return self.socket

    async def submit(self, request: web.Request) -> web.Response:
        self.ended = (await request.json())["prompt_id"]
        for _ in range(100):
            await self.socket.send_str('{"type": "status", "data": {}}')
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def answer(self, _: web.Request) -> web.Response:
        return web.json_response({self.ended: {"status": {"status_str": "success"}, "outputs": {}}})


async def test_what_is_said_while_an_answer_is_awaited_holds_up_nothing() -> None:
    async with TestServer(Chatty().application()) as server:
        begun = time.monotonic()
        await run(RemoteServer(str(server.make_url(""))), 10)
        assert time.monotonic() - begun < 0.9  # a closing handshake that nobody reads takes 1 s
