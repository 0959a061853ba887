"""A store that takes everything and keeps nothing, as quickly as it can be read: the other side of an upload.

    python -m benchmarks.rig.sink

Prints its address, then serves until SIGTERM. It knows what an upload needs of S3: PUT of an object or of a part, the
beginning and the end of a multipart upload, and DELETE. It verifies no signature: it is there to be no obstacle. Only
the newest small object can be read again, which is how a worker sees whether its bucket works.
``GET /received`` answers how many bytes came in since it was last asked.
"""

from __future__ import annotations

import asyncio
import itertools

from aiohttp import web

from comfypod.cli.emulate import stop_signal

READ_BYTES = 1 << 20
LARGEST_KEPT_BYTES = 64
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


class Sink:
    """Counts bytes."""

    def __init__(self) -> None:
        self._received_bytes = 0
        self._numbers = itertools.count(1)
        self._kept = "", b""

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/received", self._received)
        application.router.add_route("*", "/{bucket}/{key:.*}", self._handle)
        return application

    async def _received(self, _: web.Request) -> web.Response:
        received, self._received_bytes = self._received_bytes, 0
        return web.json_response(received)

    async def _handle(self, request: web.Request) -> web.Response:
        if request.method == "PUT":
            return await self._put(request)
        if request.method == "GET" and request.path == self._kept[0]:
            headers = {"ETag": '"kept"', "Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT"}
            return web.Response(body=self._kept[1], headers=headers)
        if request.method == "POST" and "uploads" in request.query:
            return _document("InitiateMultipartUploadResult", UploadId=str(next(self._numbers)))
        if request.method == "POST":
            await request.read()
            return _document("CompleteMultipartUploadResult", ETag=f'"{next(self._numbers):032x}"')
        return web.Response(status=204 if request.method == "DELETE" else 404)

    async def _put(self, request: web.Request) -> web.Response:
        if (request.content_length or LARGEST_KEPT_BYTES + 1) <= LARGEST_KEPT_BYTES:
            self._kept = request.path, await request.read()
        async for block in request.content.iter_any():
            self._received_bytes += len(block)
        return web.Response(headers={"ETag": f'"{next(self._numbers):032x}"'})


def _document(name: str, **fields: str) -> web.Response:
    text = "".join(f"<{key}>{value}</{key}>" for key, value in {"Bucket": "b", "Key": "k", **fields}.items())
    return web.Response(text=f"<{name} {NAMESPACE}>{text}</{name}>", content_type="application/xml")


async def serve() -> None:
    """Until SIGTERM."""
    runner = web.AppRunner(Sink().application(), access_log=None, read_bufsize=READ_BYTES)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    try:
        await stop_signal().wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve())
