"""What a request carries, read within limits of size and time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import ClientConnectionError, web

from comfypod.errors import BadRequest, DeadlineExceeded, TooLarge, UnsupportedContent
from comfypod.schema.limits import find_excess

JSON_LIMIT_BYTES = 8 * 1024**2
SILENCE_SECONDS = web.AppKey("silence_seconds", float)
"""How long a client may send nothing in the middle of a body, or take nothing of an answer."""
LEAST_BYTES_A_SECOND = 4_000
"""Slower clients are cut, however steadily they drip."""
_READ_BYTES = 64 * 1024


async def read_json(request: web.Request) -> dict[str, Any]:
    """The object that the body holds.

    Raises:
        UnsupportedContent, TooLarge, DeadlineExceeded: as `chunks_of`; or it does not say that it is JSON.
        BadRequest: it is no JSON, no object, or nothing that could be sent on.
    """
    if request.content_type != "application/json":
        raise UnsupportedContent("Send application/json here")
    body = b"".join([chunk async for chunk in chunks_of(request, "A JSON body", JSON_LIMIT_BYTES)])
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is not JSON") from error
    if not isinstance(document, dict):
        raise BadRequest("The body is not a JSON object")
    if problem := next(find_excess(document, name="body"), None):
        raise BadRequest(f"The body cannot be sent on: {problem}")
    return document


async def chunks_of(request: web.Request, what: str, limit_bytes: int) -> AsyncIterator[bytes]:
    """The body as it comes; ``what`` names it.

    Raises:
        UnsupportedContent: it is compressed.
        TooLarge: it is, or says that it will be.
        DeadlineExceeded: it comes too slowly.
        BadRequest: it breaks off.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedContent("Send it uncompressed")
    if request.content_length is not None and request.content_length > limit_bytes:
        raise TooLarge(what, limit_bytes)
    allowed_seconds = request.app[SILENCE_SECONDS] + limit_bytes / LEAST_BYTES_A_SECOND
    end = asyncio.get_running_loop().time() + allowed_seconds
    count = 0
    while chunk := await _next_chunk(request, end, what):
        count += len(chunk)
        if count > limit_bytes:
            raise TooLarge(what, limit_bytes)
        yield chunk


async def _next_chunk(request: web.Request, end: float, what: str) -> bytes:
    silence_seconds = request.app[SILENCE_SECONDS]
    allowed_seconds = max(0.0, min(silence_seconds, end - asyncio.get_running_loop().time()))
    try:
        async with asyncio.timeout(allowed_seconds):
            return await request.content.read(_READ_BYTES)
    except TimeoutError as error:
        raise DeadlineExceeded(f"{what} came too slowly", silence_seconds) from error
    except (OSError, ClientConnectionError, web.RequestPayloadError) as error:  # the client is gone
        raise BadRequest(f"{what} broke off") from error
