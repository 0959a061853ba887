"""Files as answers: with ranges, sent again only where they changed, and not for ever to somebody who reads slowly."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest

LEAST_BYTES_A_SECOND = 20_000
PATIENCE_SECONDS = 60.0
# Not Accept-Encoding: aiohttp would take it as leave to send another file that has the same name and .gz behind it.
_HEARD = ("Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")


class FileAnswer(web.FileResponse):
    """A file on disk."""

    def __init__(
        self, path: Path, size_bytes: int, headers: Mapping[str, str], patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        super().__init__(path, headers=headers)
        self._allowed_seconds = patience_seconds + size_bytes / LEAST_BYTES_A_SECOND

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Send it. Whoever takes it too slowly is cut off; a browser asks for the rest if it wants it."""
        heard = {name: value for name in _HEARD if (value := request.headers.get(name, "")).isascii() and value}
        try:
            async with asyncio.timeout(self._allowed_seconds):
                return await super().prepare(request.clone(headers=heard))
        except TimeoutError as error:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError from error
