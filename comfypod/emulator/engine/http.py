"""HTTP habits of ComfyUI's server that are not one route's: crashes, empty refusals, foreign origins."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from comfypod.emulator.engine.files import BadPathError
from comfypod.emulator.engine.graph import Json
from comfypod.emulator.engine.validation import RequestCrashError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def read_json(request: web.Request) -> Json:
    """Return the body as JSON; the content type does not matter.

    Raises:
        RequestCrashError: it is not JSON, or not UTF-8.
    """
    try:
        return json.loads(await request.text())
    except (ValueError, LookupError, RecursionError) as error:
        raise RequestCrashError(f"the body is not JSON: {error}") from error


async def read_object(request: web.Request) -> dict[str, Any]:
    """Return the body as a JSON object.

    Raises:
        RequestCrashError: it is anything else.
    """
    document = await read_json(request)
    if not isinstance(document, dict):
        raise RequestCrashError("the body is not a JSON object")
    return document


@web.middleware
async def answer_refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn the two kinds of refusal into answers: a bare 500 where ComfyUI's handler raises, else an empty body."""
    try:
        return await handler(request)
    except RequestCrashError:
        response = web.Response(status=500, text="500 Internal Server Error\n\nServer got itself in trouble")
        response.force_close()
        return response
    except BadPathError as error:
        return web.Response(status=error.status)


@web.middleware
async def refuse_foreign_origins(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 403 to a page of another site that talks to this machine, and nothing to OPTIONS."""
    host, origin = request.headers.get("Host"), request.headers.get("Origin")
    if host and origin and _is_foreign(host, origin):
        return web.Response(status=403)
    if request.method == "OPTIONS":
        return web.Response()
    return await handler(request)


def _is_foreign(host: str, origin: str) -> bool:
    """Whether an origin is another than the host, where the host is this machine; a port counts if both have one."""
    try:
        served, asking = urlsplit(f"//{host}"), urlsplit(origin)
        ports_differ = None not in (served.port, asking.port) and served.port != asking.port
    except ValueError:
        return True
    return _is_loopback(served.hostname) and (served.hostname != asking.hostname or ports_differ)


def _is_loopback(hostname: str | None) -> bool:
    if hostname is None:
        return False
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return hostname == "localhost"
