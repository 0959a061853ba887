"""What a request carries, read within limits of size and time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import ClientConnectionError, web

from comfypod.errors import DeadlineExceeded, MalformedCall, PayloadTooLarge
from comfypod.gateway.options import Limits
from comfypod.schema.limits import find_excess

LIMITS = web.AppKey("limits", Limits)
_READ_BYTES = 64 * 1024


async def read_json(request: web.Request) -> dict[str, Any]:
    """The object that the body holds.

    Raises:
        PayloadTooLarge, DeadlineExceeded: it is larger, or comes more slowly, than the limits allow.
        MalformedCall: it is no JSON object, is compressed, breaks off, or is nothing that could be sent on.
    """
    try:
        document = json.loads(await _read(request))
    except (ValueError, RecursionError) as error:
        raise MalformedCall("The body is not JSON") from error
    if not isinstance(document, dict):
        raise MalformedCall("The body is not a JSON object")
    if problem := next(find_excess(document, name="body"), None):
        raise MalformedCall(f"The body cannot be sent on: {problem}")
    return document


async def _read(request: web.Request) -> bytes:
    limits = request.app[LIMITS]
    check_encoding(request)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.answer_seconds):
            while block := await request.content.read(_READ_BYTES):
                body += block
                if len(body) > limits.json_bytes:
                    raise PayloadTooLarge("A JSON body", limits.json_bytes)
    except TimeoutError as error:
        raise DeadlineExceeded("the body came too slowly", limits.answer_seconds) from error
    except (OSError, ClientConnectionError, web.RequestPayloadError) as error:  # the client is gone
        raise MalformedCall("The body broke off") from error
    return bytes(body)


def check_encoding(request: web.Request) -> None:
    """Compressed bodies are refused: a small one could be a very large one.

    Raises:
        MalformedCall: it is compressed.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise MalformedCall("Send it uncompressed")
