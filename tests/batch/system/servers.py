"""What a batch has around it: a server of model files behind a limited link, and one that takes results, or is away."""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

BLOCK_BYTES = 32 * 1024


def model_file(name: str, size_bytes: int) -> bytes:
    """A safetensors file of this size, unlike every other."""
    header: dict[str, Any] = {"__metadata__": {"name": name}}
    header["weights"] = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    encoded = b""
    for _ in range(3):  # the header's own length is in it
        length = size_bytes - 8 - len(encoded)
        header["weights"] |= {"shape": [length], "data_offsets": [0, length]}
        encoded = json.dumps(header).encode().ljust(len(encoded))
    seed = hashlib.sha256(name.encode()).digest()
    return struct.pack("<Q", len(encoded)) + encoded + (seed * (length // len(seed) + 1))[:length]


@dataclass
class Models:
    """Serves files by their key, whole or in ranges; all who fetch share one link."""

    bytes_per_second: float
    files: dict[str, bytes] = field(default_factory=dict)
    sent_bytes: int = 0
    _free_at: float = 0.0

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/models/{key:.+}", self._send)]  # aiohttp answers HEAD by it, too

    async def _send(self, request: web.Request) -> web.StreamResponse:
        content = self.files.get(request.match_info["key"])
        if content is None:
            return web.Response(status=404)
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        wanted = request.http_range
        begin, end, _ = slice(wanted.start, wanted.stop).indices(len(content))
        response = web.StreamResponse(status=200 if wanted.start is None else 206)
        response.headers.update({"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"})
        response.content_length = end - begin
        if wanted.start is not None:
            response.headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(content)}"
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        for place in range(begin, end, BLOCK_BYTES):
            block = content[place : min(end, place + BLOCK_BYTES)]
            await self._wait_for_the_link(len(block))
            await response.write(block)
            self.sent_bytes += len(block)
        return response

    async def _wait_for_the_link(self, count: int) -> None:
        now = time.monotonic()
        self._free_at = max(now, self._free_at) + count / self.bytes_per_second
        await asyncio.sleep(self._free_at - now)


@dataclass
class Results:
    """Keeps what is put, the first under each name; while ``is_away`` nobody is served."""

    is_away: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)
    """Names of what was put once more, and not taken."""
    refused_while_away: int = 0
    problems: list[str] = field(default_factory=list)

    def routes(self) -> list[web.RouteDef]:
        return [web.put("/results/{name:.+}", self._take), web.get("/results/{name:.+}", self._give)]

    async def _take(self, request: web.Request) -> web.Response:
        if self.is_away:
            self.refused_while_away += 1
            return web.Response(status=503)
        name, content = request.match_info["name"], await request.read()
        digest = hashlib.sha256(content).hexdigest()
        if request.headers.get("X-Content-SHA256") != digest or request.headers.get("If-None-Match") != "*":
            self.problems.append(f"{name}: {dict(request.headers)}")
            return web.Response(status=400)
        if self.is_away:  # it went while the content came
            return web.Response(status=503)
        kept = self.files.setdefault(name, content)
        if kept is content:
            return web.Response(status=201)
        self.again.append(name)
        return web.Response(status=412, headers={"ETag": f'"{hashlib.sha256(kept).hexdigest()}"'})

    async def _give(self, request: web.Request) -> web.Response:
        content = self.files.get(request.match_info["name"])
        return web.Response(status=404) if content is None else web.Response(body=content)


@dataclass
class Servers:
    """Both, on one port."""

    models: Models
    results: Results
    url: str


@contextmanager
def running(link_bytes_per_second: float) -> Iterator[Servers]:
    """Both of them, in a thread of their own."""
    models, results = Models(link_bytes_per_second), Results()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def call(what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, loop).result(30)

    runner = call(_start([*models.routes(), *results.routes()]))
    try:
        yield Servers(models, results, f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        call(runner.cleanup())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


async def _start(routes: list[web.RouteDef]) -> web.AppRunner:
    application = web.Application(client_max_size=64 * 1024**2)
    application.add_routes(routes)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner
