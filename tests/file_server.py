"""A server of files for downloads, honest ones and hostile ones."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web


class FileServer:
    """Serves ``files`` by name, and under ``/odd/…`` what no honest server would; ``url(path)`` is an address."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.port = 0
        self.elsewhere = "http://127.0.0.1:9/secret"

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FileServer]:
        application = web.Application()
        odd: dict[str, Callable[[web.Request], object]] = {
            "endless": self._endless,
            "slow": self._slow,
            "longer": self._announces_more,
            "bomb": self._bomb,
            "redirect": self._redirect,
            "loop": self._loop,
        }
        application.add_routes([web.get(f"/odd/{name}", handler) for name, handler in odd.items()])  # type: ignore[arg-type]
        application.add_routes([web.get("/status/{code}", self._status), web.get("/{name:.+}", self._file)])
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _file(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        content = self.files.get(request.match_info["name"])
        return web.Response(status=404) if content is None else web.Response(body=content)

    async def _status(self, request: web.Request) -> web.Response:
        return web.Response(status=int(request.match_info["code"]), text="no")

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(65536))

    async def _slow(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.05)

    async def _announces_more(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100000"})
        await response.prepare(request)
        await response.write(bytes(1000))
        if request.transport is not None:
            request.transport.close()
        return response

    async def _bomb(self, _: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(bytes(10_000_000)), headers={"Content-Encoding": "gzip"})

    async def _redirect(self, _: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": self.elsewhere})

    async def _loop(self, _: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/odd/loop"})
