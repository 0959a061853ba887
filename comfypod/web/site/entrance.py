"""Who comes in: every request is judged by where it comes from, and those to the interface by who sends it."""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.typedefs import Handler

from comfypod.browsers import is_browser
from comfypod.errors import ForeignRequest, SignInRequired, UnknownHost, WrongToken
from comfypod.logs import event
from comfypod.web.site.guard import Asked, Guard
from comfypod.web.site.options import SiteOptions
from comfypod.web.site.sessions import COOKIE_SECONDS, Session, Sessions
from comfypod.web.site.visitors import Pace, network_of

INTERFACE = "/api/"
_OPEN = frozenset({"/api/session", "/api/openapi.json"})
"""What of the interface needs nobody to be signed in."""
_SESSION = web.RequestKey("session", Session)


class Entrance:
    """The server's door; `open` it once the port is known."""

    def __init__(self, options: SiteOptions, sessions: Sessions) -> None:
        self.sessions = sessions
        self._options = options
        self._wrong_tokens = Pace("wrong tokens from your address", options.limits.wrong_tokens_a_minute, 60.0)
        self.open(options.port)

    def open(self, port: int) -> None:
        """Know where the server listens. Browsers keep cookies of all ports of a host together."""
        self._guard = Guard(self._options, port)
        self._cookie_name = f"comfypod_web_{port}"

    @web.middleware
    async def admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request through to what it asks for.

        Raises:
            UnknownHost, ForeignRequest, UnsupportedContent: as `Guard.check`.
            SignInRequired, WrongToken, TooMany: it is not signed in.
        """
        path = self._path_of(request)
        try:
            self._guard.check(Asked(request.method, path, request.headers, request.scheme, _local_address(request)))
        except (UnknownHost, ForeignRequest) as error:
            event("web_refused", logging.WARNING, code=error.code, origin=request.headers.get("Origin"), path=path)
            raise
        if path.startswith(INTERFACE) and path not in _OPEN:
            session = self.session_of(request)
            if session is None or not self.sessions.is_in(session):
                raise SignInRequired
            request[_SESSION] = session
        return await handler(request)

    def session_of(self, request: web.Request) -> Session | None:
        """Whom a request comes from, signed in or not; None if that is nobody yet.

        Raises:
            WrongToken: it brings one.
            TooMany: it brought too many.
        """
        session = self.program_of(request) or self.browser_of(request)
        if session is None and not self.sessions.needs_token and not is_browser(request.headers):
            return self.sessions.programs
        return session

    def program_of(self, request: web.Request) -> Session | None:
        """The visitor that brings the token itself.

        Raises:
            WrongToken, TooMany: as `session_of`.
        """
        authorization = request.headers.get("Authorization")
        if authorization is None:
            return None
        address = self.address_of(request)
        self._wrong_tokens.check(address)
        try:
            return self.sessions.of_program(authorization)
        except WrongToken:
            self._note_wrong_token(address)
            raise

    def browser_of(self, request: web.Request) -> Session | None:
        """The visitor that the cookie stands for."""
        return self.sessions.of_browser(request.cookies.get(self._cookie_name, ""))

    def sign_in(self, request: web.Request, token: str) -> Session:
        """The visitor, signed in; a new one if the browser was not here before.

        Raises:
            WrongToken: it is.
            TooMany: so were too many before.
        """
        address = self.address_of(request)
        self._wrong_tokens.check(address)
        visitor = self.browser_of(request) or self.sessions.new_visitor()
        try:
            return self.sessions.sign_in(visitor, token)
        except WrongToken:
            self._note_wrong_token(address)
            raise

    def give_cookie(self, request: web.Request, response: web.StreamResponse, session: Session) -> None:
        """Let the browser remember who it is: for this page alone, and out of its scripts' reach."""
        response.set_cookie(
            self._cookie_name,
            self.sessions.cookie(session),
            max_age=COOKIE_SECONDS,
            path=self._options.base_path,
            secure=self._is_https(request),
            httponly=True,
            samesite="Strict",
        )

    def address_of(self, request: web.Request) -> str:
        """Where a request comes from, as far as addresses are limited."""
        forwarded = request.headers.get("X-Forwarded-For", "") if self._options.trusts_proxy else ""
        return network_of(forwarded.rpartition(",")[2].strip() or request.remote or "")

    def _note_wrong_token(self, address: str) -> None:
        event("web_wrong_token", logging.WARNING, address=address)
        self._wrong_tokens.take(address)

    def _is_https(self, request: web.Request) -> bool:
        forwarded = request.headers.get("X-Forwarded-Proto", "") if self._options.trusts_proxy else ""
        return (forwarded.rpartition(",")[2].strip().lower() or request.scheme) == "https"

    def _path_of(self, request: web.Request) -> str:
        """The path below the base path, whose own last slash may be missing."""
        return f"/{f'{request.path}/'.removeprefix(self._options.base_path).strip('/')}"


def visitor_of(request: web.Request) -> str:
    """The visitor that was admitted with this request."""
    return request[_SESSION].visitor_id


def _local_address(request: web.Request) -> str:
    """The address of this machine that the connection came to."""
    name = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return str(name[0]) if isinstance(name, tuple) else ""
