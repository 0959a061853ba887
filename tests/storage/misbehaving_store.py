"""A store on 127.0.0.1 that keeps objects, and misbehaves as planned."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HEADERS = {"ETag": '"1"', "Last-Modified": "Sat, 21 Nov 2026 16:40:31 GMT", "Content-Type": "video/mp4"}


@dataclass
class MisbehavingStore:
    """Objects by key, and answers that are given instead of the right one: the next in line whose method matches."""

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    planned: list[tuple[str, Answer]] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    pause_seconds: float = 0
    signed_bodies: list[str | None] = field(default_factory=list)

    def plan(self, method: str, answer: Answer, times: int = 1) -> None:
        self.planned += [(method, answer)] * times

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            for index, (method, answer) in enumerate(self.planned):
                if method == request.method:
                    del self.planned[index]
                    return await answer(request)
            return await self.right_answer(request)
        finally:
            self.under_way -= 1

    async def right_answer(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        await asyncio.sleep(self.pause_seconds)
        if request.method == "PUT":
            signed = request.headers.get("x-amz-content-sha256")
            self.signed_bodies += [signed] if signed not in {None, "UNSIGNED-PAYLOAD"} else []
            assert signed in {None, "UNSIGNED-PAYLOAD", hashlib.sha256(content).hexdigest()}
            # Not every store takes the checksums that newer SDKs of Amazon's send.
            assert not [name for name in request.headers if "checksum" in name.lower() or "trailer" in name.lower()]
        if {"uploads", "uploadId"} & set(request.query):
            return self._part_of_upload(request, content)
        if request.method == "PUT":
            self.objects[request.path] = content
            return web.Response(headers={"ETag": '"1"'})
        if request.method == "DELETE":
            self.objects.pop(request.path, None)
            return web.Response(status=204)
        found = self.objects[request.path]
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        part = {"Content-Range": f"bytes {start}-{len(found) - 1}/{len(found)}"} if start else {}
        return web.Response(status=206 if start else 200, headers={**_HEADERS, **part}, body=found[start:])

    def _part_of_upload(self, request: web.Request, content: bytes) -> web.StreamResponse:
        if request.method == "PUT":
            self.uploads[request.path][int(request.query["partNumber"])] = content
            return web.Response(headers={"ETag": '"1"'})
        if request.method == "DELETE":
            del self.uploads[request.path]
            return web.Response(status=204)
        if "uploads" in request.query:
            self.uploads[request.path] = {}
            return web.Response(text=_xml("InitiateMultipartUploadResult", "<UploadId>1</UploadId>"))
        parts = self.uploads.pop(request.path)
        self.objects[request.path] = b"".join(part for _, part in sorted(parts.items()))
        return web.Response(text=_xml("CompleteMultipartUploadResult", "<ETag>1</ETag>"))


def _xml(name: str, inside: str) -> str:
    return f"<{name}><Bucket>b</Bucket><Key>k</Key>{inside}</{name}>"


@asynccontextmanager
async def serving(store: MisbehavingStore) -> AsyncIterator[MisbehavingStore]:
    application = web.Application(client_max_size=1024**3)
    application.router.add_route("*", "/{key:.*}", store.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    store.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield store
    finally:
        await runner.cleanup()


def refusal(status: int, code: str = "", message: str = "") -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>" if code else "<html>sorry</html>"
        return web.Response(status=status, text=text, content_type="application/xml")

    return answer


async def never(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def cut(request: web.Request) -> web.StreamResponse:
    """Announce 3 MB, and hang up after one."""
    response = web.StreamResponse(headers={**_HEADERS, "Content-Length": "3000000"})
    await response.prepare(request)
    await response.write(bytes(1_000_000))
    assert request.transport is not None
    request.transport.close()
    return response
