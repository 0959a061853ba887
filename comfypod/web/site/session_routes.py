"""Signing in and out, and what everybody may know of the server."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from comfypod.errors import BadRequest
from comfypod.web.site.answers import json_answer
from comfypod.web.site.bodies import read_json
from comfypod.web.site.entrance import Entrance
from comfypod.web.site.openapi import openapi_document
from comfypod.web.site.options import SiteOptions
from comfypod.web.site.sessions import Session


class SessionRoutes:
    """``api/session`` and what else needs nobody to be signed in."""

    def __init__(self, entrance: Entrance, options: SiteOptions) -> None:
        self._entrance = entrance
        self._limits = {
            "runs_at_once": options.limits.runs_at_once,
            "upload_bytes": options.limits.upload_bytes,
        }

    def routes(self, base_path: str) -> Iterable[web.RouteDef]:
        """The routes, below the base path."""
        yield web.get(f"{base_path}health", self._health)
        yield web.get(f"{base_path}api/openapi.json", self._openapi)
        yield web.get(f"{base_path}api/session", self._get)
        yield web.post(f"{base_path}api/session", self._sign_in)
        yield web.delete(f"{base_path}api/session", self._sign_out)

    async def _health(self, _request: web.Request) -> web.Response:
        return json_answer({"status": "ok"})

    async def _openapi(self, _request: web.Request) -> web.Response:
        return json_answer(openapi_document())

    async def _get(self, request: web.Request) -> web.Response:
        """Whether somebody is signed in. A browser that was not here before is a new visitor from now on."""
        sessions = self._entrance.sessions
        program = self._entrance.program_of(request)
        session = program or sessions.renewed(self._entrance.browser_of(request) or sessions.new_visitor())
        response = json_answer(
            {"is_signed_in": sessions.is_in(session), "needs_token": sessions.needs_token, "limits": self._limits}
        )
        if program is None:
            self._entrance.give_cookie(request, response, session)
        return response

    async def _sign_in(self, request: web.Request) -> web.Response:
        token = (await read_json(request)).get("token")
        if not isinstance(token, str):
            raise BadRequest('Send the token as a text: {"token": "…"}')
        response = web.Response(status=204)
        self._entrance.give_cookie(request, response, self._entrance.sign_in(request, token))
        return response

    async def _sign_out(self, request: web.Request) -> web.Response:
        """The browser stays the same visitor, and forgets what it has shown; where it can be told to (W3C)."""
        response = web.Response(status=204, headers={"Clear-Site-Data": '"cache"'})
        if (session := self._entrance.browser_of(request)) is not None:
            self._entrance.give_cookie(request, response, Session(session.visitor_id))
        return response
