"""The application: what every request passes on its way to a route, and every answer on its way back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from logging import WARNING
from typing import Final

from aiohttp import ClientConnectionError, web
from aiohttp.typedefs import Handler

from comfypod.batch.coordinator.calls import refusal, status_of
from comfypod.batch.coordinator.tokens import Tokens
from comfypod.errors import ComfyPodError, InvalidRequest
from comfypod.logs import event, log

MOST_BODY_BYTES: Final = 16 * 2**20
BODY_SECONDS: Final = 30.0
_READ_BYTES: Final = 64 * 1024
_HEADERS: Final = {"Server": "comfypod", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def make_application(tokens: Tokens, routes: Iterable[web.RouteDef]) -> web.Application:
    """The application with these routes; all but ``/health`` are for those who have the batch's token."""

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != "/health" and not await tokens.admits(request.headers.get("Authorization", "")):
            return web.json_response(refusal("unauthorized", "The token of the batch is missing or wrong"), status=401)
        return await handler(request)

    application = web.Application(middlewares=[_answer_errors, admit])
    application.on_response_prepare.append(_add_headers)
    application.router.add_routes([web.get("/health", _health), *routes])
    return application


async def read_body(request: web.Request) -> bytes:
    """The body, within limits of size and time.

    Raises:
        InvalidRequest: it is too large, comes too slowly, or is compressed.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise InvalidRequest("Send it uncompressed")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while block := await request.content.read(_READ_BYTES):
                body += block
                if len(body) > MOST_BODY_BYTES:
                    raise InvalidRequest(f"A body may have at most {MOST_BODY_BYTES:,} bytes")
    except TimeoutError as error:
        raise InvalidRequest(f"The body did not come within {BODY_SECONDS:g} s") from error
    except (ClientConnectionError, web.RequestPayloadError) as error:
        raise InvalidRequest("The body broke off") from error
    return bytes(body)


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure in the one form that the interface has for it."""
    try:
        return await handler(request)
    except ComfyPodError as error:
        status = status_of(error)
        if status >= 500:
            event("batch_hindered", WARNING, code=error.code, cause=str(error))
        return web.json_response(refusal(error.code, str(error), retryable=error.retryable), status=status)
    except web.HTTPException as error:
        return web.json_response(
            refusal("not_found" if error.status == 404 else "refused", error.reason), status=error.status
        )
    except ConnectionError:  # the pod is gone
        raise
    except Exception as error:  # noqa: BLE001 (the boundary: one request must not show what is inside, nor end another)
        log.error(
            "batch_failed", exc_info=error, extra={"fields": {"method": request.method, "path": request.path[:200]}}
        )
        return web.json_response(refusal("internal", "The coordinator failed; its log says why"), status=500)
