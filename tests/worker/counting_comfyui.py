"""A ComfyUI whose prompts do what a test says, and which remembers who connected and what was asked."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping
from typing import Any

from aiohttp import WSCloseCode, web

OLD_PREVIEW = struct.pack(">II", 1, 1) + b"\xff\xd8"


class CountingComfyUI:
    """Takes prompts; ends each at once, unless ``by_hand``: then `say`, `show` and `end` play them.

    ``calls`` are the requests, ``client_ids`` those of the websockets that were opened, ``peers`` the addresses of the
    HTTP connections. A call whose name is in ``held`` is answered when `release` says so.
    """

    def __init__(self, *, by_hand: bool = False) -> None:
        self.calls: list[str] = []
        self.client_ids: list[str] = []
        self.peers: set[Any] = set()
        self.queue: list[str] = []
        self.history: dict[str, Any] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self._by_hand = by_hand
        self._current = ""

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes(
            [
                web.get("/ws", self._listen),
                web.post("/prompt", self._submit),
                web.get("/queue", self._show_queue),
                web.get("/history/{id}", self._show_history),
                web.post("/history", self._forget),
                web.post("/api/jobs/{id}/cancel", self._cancel),
            ]
        )
        application.on_shutdown.append(self._close_sockets)
        return application

    async def until(self, number: int) -> list[str]:
        """The ids of the prompts in the queue, as soon as there are so many."""
        async with asyncio.timeout(10):
            while len(self.queue) < number:
                await asyncio.sleep(0.005)
        return list(self.queue)

    async def say(self, kind: str, prompt_id: str, **data: Any) -> None:
        self._current = prompt_id
        await self._send(json.dumps({"type": kind, "data": {"prompt_id": prompt_id, **data}}))

    async def show(self) -> None:
        """Send a preview that does not say whose it is."""
        await self._send(OLD_PREVIEW)

    async def end(self, prompt_id: str) -> None:
        self.queue.remove(prompt_id)
        self.history[prompt_id] = {"status": {"status_str": "success"}, "outputs": {}}
        await self.say("executing", prompt_id, node=None)

    def cut(self) -> None:
        """Abort the websockets."""
        for socket in self.sockets.values():
            assert socket._req is not None
            assert socket._req.transport is not None
            socket._req.transport.abort()
        self.sockets.clear()

    async def _send(self, message: str | bytes) -> None:
        for socket in list(self.sockets.values()):
            await (socket.send_bytes(message) if isinstance(message, bytes) else socket.send_str(message))

    async def _close_sockets(self, _: web.Application) -> None:
        for socket in list(self.sockets.values()):
            await socket.close(code=WSCloseCode.GOING_AWAY)

    async def _count(self, request: web.Request) -> None:
        name = f"{request.method} /{request.path.split('/')[1]}"
        self.calls.append(name)
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        if name in self.held:
            await self.held[name].wait()

    async def _listen(self, request: web.Request) -> web.WebSocketResponse:
        socket, client_id = web.WebSocketResponse(), request.query["clientId"]
        await socket.prepare(request)
        self.client_ids.append(client_id)
        self.sockets[client_id] = socket
        if self.queue and self._current in self.queue:
            await socket.send_str('{"type": "executing", "data": {"node": "2"}}')
        try:
            async for _ in socket:
                pass
        finally:
            if self.sockets.get(client_id) is socket:
                del self.sockets[client_id]
        return socket

    async def _submit(self, request: web.Request) -> web.Response:
        prompt_id = (await request.json())["prompt_id"]
        self.queue.append(prompt_id)
        await self._count(request)
        if not self._by_hand:
            await self.say("execution_start", prompt_id)
            await self.end(prompt_id)
        return web.json_response({"prompt_id": prompt_id, "number": 0, "node_errors": {}})

    async def _show_queue(self, request: web.Request) -> web.Response:
        await self._count(request)
        items = [[0, prompt_id, {}, {}, []] for prompt_id in self.queue]
        return web.json_response({"queue_running": items[:1], "queue_pending": items[1:]})

    async def _show_history(self, request: web.Request) -> web.Response:
        await self._count(request)
        prompt_id = request.match_info["id"]
        known: Mapping[str, Any] = {prompt_id: self.history[prompt_id]} if prompt_id in self.history else {}
        return web.json_response(known)

    async def _forget(self, request: web.Request) -> web.Response:
        await self._count(request)
        for prompt_id in (await request.json())["delete"]:
            self.history.pop(prompt_id, None)
        return web.Response()

    async def _cancel(self, request: web.Request) -> web.Response:
        await self._count(request)
        prompt_id = request.match_info["id"]
        if prompt_id in self.queue:
            self.queue.remove(prompt_id)
        return web.json_response({"cancelled": True})
