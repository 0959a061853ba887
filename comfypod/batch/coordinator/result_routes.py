"""``PUT /v1/results/NAME/FILE``: a place for results where pods can send them, and none can replace another's."""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from logging import WARNING
from typing import Final

from aiohttp import ClientConnectionError, web

from comfypod.batch.coordinator.calls import refusal
from comfypod.batch.coordinator.results_folder import BLOCK_BYTES, Arriving, ResultsFolder
from comfypod.errors import InvalidRequest
from comfypod.logs import event

MOST_FILE_BYTES: Final = 4 * 10**9
SILENT_SECONDS: Final = 60.0
MOST_AT_ONCE: Final = 32
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class ResultRoutes:
    """Takes files into a folder."""

    def __init__(self, folder: ResultsFolder) -> None:
        self._folder = folder
        self._places = asyncio.Semaphore(MOST_AT_ONCE)

    def routes(self) -> Iterable[web.RouteDef]:
        """Where each of them is."""
        return [
            web.put("/v1/results/{name:.+}", self.put),
            web.head("/v1/results/{name:.+}", self.head),
        ]

    async def head(self, request: web.Request) -> web.Response:
        """Whether a file is there: its size, and its sha256 as ``ETag``."""
        found = await asyncio.to_thread(self._folder.found, request.match_info["name"])
        if found is None:
            return web.Response(status=404)
        return web.Response(headers={"Content-Length": str(found[0]), "ETag": f'"{found[1]}"'})

    async def put(self, request: web.Request) -> web.Response:
        """Take a file that is not there yet: 201; one that is stays as it is: 412, with its ``ETag``."""
        name = request.match_info["name"]
        if request.headers.get("If-None-Match") != "*":
            raise InvalidRequest("Send If-None-Match: *, for nothing is replaced here")
        expected = request.headers.get("X-Content-SHA256", "").lower()
        if not _SHA256.fullmatch(expected):
            raise InvalidRequest("Send the file's sha256 as X-Content-SHA256, in hex")
        if (request.content_length or 0) > MOST_FILE_BYTES:
            return _refused(413, "too_large", f"A file may have at most {MOST_FILE_BYTES:,} bytes")
        if (found := await asyncio.to_thread(self._folder.found, name)) is not None:
            return _there_already(found[1])
        try:
            async with self._places, self._arriving(name) as arriving:
                return await self._take(request, arriving, expected)
        except OSError as error:
            event("result_not_stored", WARNING, file=name[:300], cause=error.strerror or str(error))
            status = 507 if error.errno in _FULL else 503
            return _refused(status, "disk_failed", f"It could not be stored: {error.strerror}", retryable=True)

    async def _take(self, request: web.Request, arriving: Arriving, expected: str) -> web.Response:
        try:
            while True:
                async with asyncio.timeout(SILENT_SECONDS):
                    block = await request.content.read(BLOCK_BYTES)
                if not block:
                    break
                if arriving.size_bytes + len(block) > MOST_FILE_BYTES:
                    return _refused(413, "too_large", f"A file may have at most {MOST_FILE_BYTES:,} bytes")
                await asyncio.to_thread(arriving.write, block)
        except TimeoutError:
            return _refused(408, "too_slow", "The file came too slowly", retryable=True)
        except (ClientConnectionError, web.RequestPayloadError):
            return _refused(400, "broke_off", "The file broke off", retryable=True)
        if arriving.digest.hexdigest() != expected:
            return _refused(400, "wrong_sha256", "It is not what its sha256 says", retryable=True)
        if not await asyncio.to_thread(arriving.keep):
            found = await asyncio.to_thread(self._folder.found, request.match_info["name"])
            return _there_already(found[1] if found is not None else "")
        return web.Response(status=201, headers={"ETag": f'"{expected}"'})

    @asynccontextmanager
    async def _arriving(self, name: str) -> AsyncIterator[Arriving]:
        arriving = self._folder.arriving(name)
        try:
            yield arriving
        finally:
            await asyncio.shield(asyncio.to_thread(arriving.close))


def _there_already(sha256: str) -> web.Response:
    answer = refusal("there_already", "There is a file of this name")
    return web.json_response(answer, status=412, headers={"ETag": f'"{sha256}"'})


def _refused(status: int, code: str, message: str, *, retryable: bool = False) -> web.Response:
    return web.json_response(refusal(code, message, retryable=retryable), status=status)
