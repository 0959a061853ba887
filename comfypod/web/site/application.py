"""The application: what every request passes on its way to a route, and every answer on its way back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiohttp import web
from aiohttp.typedefs import Handler

from comfypod.errors import ComfyPodError
from comfypod.logs import log
from comfypod.web.site.answers import error_answer, error_document, json_answer
from comfypod.web.site.bodies import SILENCE_SECONDS
from comfypod.web.site.entrance import Entrance
from comfypod.web.site.headers import ON_EVERYTHING
from comfypod.web.site.options import SiteOptions

_SEND_FACTOR = 3
"""An answer that is no file is small: it may take so many times as long as a client may be silent."""
_SERVER_NAME = "comfypod"
_SENTENCES = {404: "There is nothing at this address", 405: "This address does not take such a request"}


def make_application(entrance: Entrance, routes: Iterable[web.RouteDef], options: SiteOptions) -> web.Application:
    """The application with these routes, which all lie below the base path."""
    application = web.Application(middlewares=[_send_in_time, _answer_errors, entrance.admit])
    application[SILENCE_SECONDS] = options.limits.silence_seconds
    application.on_response_prepare.append(_add_headers)
    application.router.add_routes([*routes])
    if options.base_path != "/":
        application.router.add_get(options.base_path.rstrip("/"), _to_front_page)
    return application


async def _to_front_page(request: web.Request) -> web.StreamResponse:
    """Addresses in the page are relative to it, so it must end with a slash."""
    return web.Response(status=308, headers={"Location": f"{request.path}/"})


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in ON_EVERYTHING.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = _SERVER_NAME


@web.middleware
async def _send_in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Cut whoever does not take an answer. Files and streams have limits of their own."""
    response = await handler(request)
    if not isinstance(response, web.Response):
        return response
    try:
        async with asyncio.timeout(_SEND_FACTOR * request.app[SILENCE_SECONDS]):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError as error:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError from error
    return response


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure in the one form that the interface has for it."""
    try:
        return await handler(request)
    except ComfyPodError as error:
        return error_answer(error)
    except web.HTTPException as error:
        sentence = _SENTENCES.get(error.status, error.reason)
        code = "not_found" if error.status == 404 else "bad_request"
        answer = json_answer(error_document(code, sentence), error.status)
        if isinstance(error, web.HTTPMethodNotAllowed):
            answer.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        return answer
    except ConnectionError:  # the client is gone
        raise
    except Exception as error:  # noqa: BLE001 (the boundary: one request must not show what is inside, nor end another)
        fields = {"method": request.method, "path": request.path}
        log.error("web_failed", exc_info=error, extra={"fields": fields})
        return json_answer(error_document("internal", "The server failed at this; its log says at what"), 500)
