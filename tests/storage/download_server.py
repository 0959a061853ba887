"""Servers to download from, with the faults that sources have: cuts, lies, ranges ignored, content that changes."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

SEND_BYTES = 64 * 1024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class ServedFile:
    """What lies at a path. The lists are used up, an item per request.

    Attributes:
        etag: None: the server tells none.
        ranges: False: Range is ignored.
        cuts: after so many bytes of the body the connection is closed.
        answers: statuses and headers that are answered in place of the file.
        pace_seconds: how long each piece of 64 KiB takes.
        hold_after: so many bytes of each body are sent; the rest waits until ``released`` is set.
        headers: sent besides.
    """

    content: bytes
    etag: str | None = '"first"'
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    pace_seconds: float = 0.0
    hold_after: int | None = None
    released: asyncio.Event = field(default_factory=asyncio.Event)
    headers: dict[str, str] = field(default_factory=dict)
    sent_bytes: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.answers:
            status, headers = self.answers.pop(0)
            return web.Response(status=status, headers=headers)
        start, stop, status = self._range(request)
        response = web.StreamResponse(status=status, headers=dict(self.headers))
        response.content_length = stop - start
        if self.etag:
            response.headers["ETag"] = self.etag
        if status == 206:
            response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(self.content)}"
        await response.prepare(request)
        cut = self.cuts.pop(0) if self.cuts else None
        await self._send(response, self.content[start:stop] if cut is None else self.content[start : start + cut])
        if cut is not None and request.transport is not None:
            request.transport.close()
        return response

    def _range(self, request: web.Request) -> tuple[int, int, int]:
        asked = request.headers.get("Range")
        if not self.ranges or asked is None or request.headers.get("If-Range", self.etag) != self.etag:
            return 0, len(self.content), 200
        first, last = asked.removeprefix("bytes=").split("-")
        return int(first), min(int(last) + 1 if last else len(self.content), len(self.content)), 206

    async def _send(self, response: web.StreamResponse, body: bytes) -> None:
        limit = len(body) if self.hold_after is None else self.hold_after
        for start in range(0, len(body), SEND_BYTES):
            if start >= limit:
                await self.released.wait()
            piece = body[start : start + SEND_BYTES]
            await asyncio.sleep(self.pace_seconds)
            await response.write(piece)
            self.sent_bytes += len(piece)


@dataclass(frozen=True)
class Seen:
    """A request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class DownloadServer:
    """An HTTP server on ``host`` (of the loopback network) whose paths the test fills."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = 0
        self.files: dict[str, ServedFile] = {}
        self.handlers: dict[str, Handler] = {}
        self.seen: list[Seen] = []
        self.scheme = "http"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    def serve(self, path: str, file: ServedFile) -> str:
        """Put the file at ``path``; its URL."""
        self.files[path] = file
        return self.origin + path

    def handle(self, path: str, handler: Handler) -> str:
        """Have ``handler`` answer at ``path``; its URL."""
        self.handlers[path] = handler
        return self.origin + path

    def redirect(self, path: str, location: str, status: int = 302) -> str:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": location})

        return self.handle(path, answer)

    @asynccontextmanager
    async def running(self, port: int = 0, ssl_context: object = None) -> AsyncIterator[Self]:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handle_signals=False)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self.host, port, ssl_context=ssl_context)  # type: ignore[arg-type]
            await site.start()
            self.port = runner.addresses[0][1]
            self.scheme = "https" if ssl_context else "http"
            yield self
        finally:
            for file in self.files.values():
                file.released.set()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(request.method, request.path_qs, headers, await request.read()))
        if handler := self.handlers.get(request.path):
            return await handler(request)
        if file := self.files.get(request.path):
            return await file.answer(request)
        return web.Response(status=404)


def pattern(size_bytes: int, seed: int = 1) -> bytes:
    """Bytes that look random, and are the same each time."""
    return hashlib.shake_128(bytes([seed])).digest(size_bytes)


@asynccontextmanager
async def raw_server(*parts: bytes, stay: bool = False) -> AsyncIterator[str]:
    """A server that answers every request with these bytes, whatever they are, and closes, or stays silent."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for part in parts:
                writer.write(part)
                await writer.drain()
            if stay:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has heard enough
        finally:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/raw"


class ChangingResolver(AbstractResolver):
    """A name service that answers ``answers`` one after the other, and then the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(host)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in answer
        ]

    async def close(self) -> None:
        pass
