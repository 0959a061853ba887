"""The application: what every request passes on its way to a route, and every answer on its way back."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from logging import WARNING
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from comfypod.errors import ComfyPodError
from comfypod.gateway.access import DESK, TRACE_ID, admit, is_admitted, tenant_of
from comfypod.gateway.answers import INTERNAL, error_answer, http_refusal, refusal
from comfypod.gateway.bodies import LIMITS
from comfypod.gateway.desk import Desk
from comfypod.gateway.operations.counters import Counters
from comfypod.gateway.options import GatewayOptions
from comfypod.gateway.tracing import trace_id_of
from comfypod.logs import event, log

COUNTERS = web.AppKey("counters", Counters)
_HEADERS = {
    "Server": "comfypod",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}
_QUIET = frozenset({"/health", "/ready", "/metrics"})
"""Asked for every few seconds by machines: not worth a line in the log each time."""


def make_application(
    desk: Desk, routes: Iterable[web.RouteDef], options: GatewayOptions, counters: Counters
) -> web.Application:
    """The application with these routes."""
    application = web.Application(middlewares=[_trace, _answer_errors, _admit])
    application[DESK] = desk
    application[LIMITS] = options.limits
    application[COUNTERS] = counters
    application.on_response_prepare.append(_add_headers)
    application.router.add_routes([*routes])
    return application


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["X-Comfy-Request-Id"] = request.get(TRACE_ID, "")


@web.middleware
async def _trace(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its trace, and tell the log how it went."""
    request[TRACE_ID] = trace_id_of(request.headers)
    begun_at = time.monotonic()
    status = 499  # nginx's word for a client that went away
    try:
        response = await handler(request)
        status = response.status
        return response
    finally:
        request.app[COUNTERS].answered(request.method, status)
        if request.path not in _QUIET:
            milliseconds = round((time.monotonic() - begun_at) * 1000)
            fields = {"method": request.method, "path": _logged_path(request), "status": status, "ms": milliseconds}
            _log_answer(fields, tenant_of(request).name if is_admitted(request) else None, request[TRACE_ID])


def _log_answer(fields: Mapping[str, Any], tenant: str | None, trace_id: str) -> None:
    """One line for each answer; neither what was asked for nor what was answered is in it."""
    known = {} if tenant is None else {"tenant": tenant}
    log.info("gateway_answered", extra={"fields": {**fields, **known, "trace_id": trace_id}})


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure in the one form that the interface has for it."""
    try:
        return await handler(request)
    except ComfyPodError as error:
        answer = error_answer(error)
        if answer.status >= 500:
            event("gateway_hindered", WARNING, code=error.code, cause=str(error), trace_id=request[TRACE_ID])
        return answer
    except web.HTTPException as error:
        return http_refusal(error)
    except ConnectionError:  # the client is gone
        raise
    except Exception as error:  # noqa: BLE001 (the boundary: one request must not show what is inside, nor end another)
        fields = {"method": request.method, "path": _logged_path(request), "trace_id": request[TRACE_ID]}
        log.error("gateway_failed", exc_info=error, extra={"fields": fields})
        return refusal(500, "upstream_error", INTERNAL)


@web.middleware
async def _admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    await admit(request)
    return await handler(request)


def _logged_path(request: web.Request) -> str:
    """The path without what proves where a webhook comes from."""
    return "/hooks/runpod/…" if request.path.startswith("/hooks/") else request.path[:200]
