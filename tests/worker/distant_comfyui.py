"""A ComfyUI as if it ran on another machine: everything goes through, but where its folders are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

_HOP_HEADERS = {"connection", "content-length", "transfer-encoding", "host", "content-encoding"}


class DistantComfyUI:
    """Forwards to the ComfyUI at ``upstream``; tells nothing of its folders."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[DistantComfyUI]:
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            application = web.Application(client_max_size=2**31)
            application.add_routes(
                [
                    web.get("/ws", self._websocket),
                    web.get("/internal/folder_paths", self._hidden),
                    web.route("*", "/{path:.*}", self._forward),
                ]
            )
            runner = web.AppRunner(application, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            try:
                yield self
            finally:
                await runner.cleanup()

    async def _hidden(self, _: web.Request) -> web.Response:
        return web.Response(status=404)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_HEADERS}
        url, body = f"{self._upstream}{request.path_qs}", request.content if request.can_read_body else None
        async with self._session.request(request.method, url, headers=headers, data=body) as answer:
            if request.path == "/system_stats":
                return web.json_response(_without_arguments(await answer.json()))
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_HEADERS}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            if request.method != "HEAD":
                async for block in answer.content.iter_chunked(65536):
                    await response.write(block)
            return response

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        mine = web.WebSocketResponse(compress=False, max_msg_size=0)
        await mine.prepare(request)
        async with self._session.ws_connect(f"{self._upstream}{request.path_qs}", max_msg_size=0) as theirs:
            ways = [asyncio.create_task(_copy(mine, theirs)), asyncio.create_task(_copy(theirs, mine))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        return mine


async def _copy(source: Any, target: Any) -> None:
    async for message in source:
        if message.type == aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type == aiohttp.WSMsgType.BINARY:
            await target.send_bytes(message.data)


def _without_arguments(stats: Any) -> Any:
    return {**stats, "system": {**stats["system"], "argv": ["main.py"]}}
