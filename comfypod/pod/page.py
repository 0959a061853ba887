"""ComfyUI's own page, on a port of its own: a reverse proxy that asks for the key and streams both ways.

It must not know what ComfyUI's routes mean. ComfyUI itself stays on loopback and knows no passwords.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict
from yarl import URL

from comfypod.browsers import comes_from_elsewhere
from comfypod.logs import event
from comfypod.pod.headers import passed_on
from comfypod.pod.relay import Connections, Relay
from comfypod.pod.sign_in import CHALLENGE, SignIn

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 600.0
"""How long ComfyUI may say nothing where an answer is due; its server stalls while a model loads."""
STOP_SECONDS = 1.0
_ADDED_BY_AIOHTTP = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
# ComfyUI refuses what names another host than its own address, and whatever a link on another site has led to
# (0.33.0, ``server.py``, ``create_origin_only_middleware``); here that has been judged. The key is not its business.
_KEPT_FROM_COMFYUI = ("Host", "Origin", "Sec-Fetch-Site", "Authorization", "Cookie")
_OF_THE_HANDSHAKE = ("Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol")
_GAVE_PASSWORD = web.RequestKey("gave_password", bool)
_WAITING = """<!doctype html>
<meta charset="utf-8"><meta http-equiv="refresh" content="3"><title>ComfyUI is not there</title>
<p>ComfyUI does not answer. It is starting, or starting again; this page looks for it every three seconds.</p>
<p>If it does not come up, the pod's log says why.</p>
"""


class ComfyUIPage:
    """Serves what ComfyUI serves at ``comfyui_url`` to whoever signs in; while ComfyUI is down, a page that waits.

    ``own_hosts`` are names by which browsers know the page, besides those that their requests give.
    `start` it, and `stop` it in the end.
    """

    def __init__(self, comfyui_url: str, sign_in: SignIn, own_hosts: Collection[str] = ()) -> None:
        self.port = 0
        self._comfyui_url = comfyui_url.rstrip("/")
        self._sign_in = sign_in
        self._own_hosts = own_hosts
        self._connections = Connections()
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 means any free port, and `port` then says which.

        Raises:
            OSError: the port is taken, or the address is not this machine's.
        """
        application = web.Application(middlewares=[self._guard])
        application.on_response_prepare.append(self._give_cookie)
        application.router.add_route("*", "/{path:.*}", self._answer)
        # A browser that goes away ends what it asked for, so that nothing is read for nobody.
        runner = self._runner = web.AppRunner(
            application,
            access_log=None,
            auto_decompress=False,  # what is sent stays as it is; ComfyUI unpacks it
            handler_cancellation=True,
            shutdown_timeout=STOP_SECONDS,
        )
        # No limit for the whole of an answer: files may be large, and ComfyUI is silent while it works.
        patience = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_ADDED_BY_AIOHTTP,
            timeout=patience,
        )
        try:
            await runner.setup()
            await web.TCPSite(runner, host, port).start()
        except BaseException:
            await self.stop()
            raise
        self.port = runner.addresses[0][1]
        event("page_started", host=host, port=self.port, comfyui=self._comfyui_url)

    async def stop(self) -> None:
        """Close the port and every connection. May be called twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if comes_from_elsewhere(request.method, request.path, request.headers, self._own_hosts):
            event("page_refused", logging.WARNING, origin=request.headers.get("Origin"), path=request.path)
            return web.Response(status=403, text="This was sent by a page of another site.\n")
        if not self._sign_in.has_cookie(request.cookies):
            if not self._sign_in.has_password(request.headers.get("Authorization", "")):
                challenge = {"WWW-Authenticate": CHALLENGE, "Cache-Control": "no-store"}
                return web.Response(status=401, headers=challenge, text="Any user name; the API key as password.\n")
            request[_GAVE_PASSWORD] = True
        return await handler(request)

    async def _give_cookie(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.setdefault("X-Frame-Options", "SAMEORIGIN")
        if request.get(_GAVE_PASSWORD, False):
            is_https = request.headers.get("X-Forwarded-Proto", request.scheme) == "https"
            response.headers.add("Set-Cookie", self._sign_in.cookie(is_https=is_https))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self._session is None or not request.raw_path.startswith("/"):  # else it could name another host
            return web.Response(status=400, text="This is no address of ComfyUI's page.\n")
        url = URL(self._comfyui_url + request.raw_path, encoded=True)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._relay(request, url, self._session)
        return await self._forward(request, url, self._session)

    async def _relay(self, request: web.Request, url: URL, session: aiohttp.ClientSession) -> web.StreamResponse:
        relay, client_id = Relay(request, session), request.query.get("clientId", "")
        try:
            if client_id:
                await self._connections.replace(client_id, relay)
            return await relay.run(url, self._headers_of(request, _OF_THE_HANDSHAKE))
        except aiohttp.WSServerHandshakeError as error:
            return web.Response(status=error.status)
        except (aiohttp.ClientError, TimeoutError):
            return _waiting(request)
        finally:
            self._connections.remove(client_id, relay)

    async def _forward(self, request: web.Request, url: URL, session: aiohttp.ClientSession) -> web.StreamResponse:
        body = request.content if request.body_exists else None
        response: web.StreamResponse | None = None
        try:
            async with session.request(
                request.method, url, headers=self._headers_of(request), data=body, allow_redirects=False
            ) as answer:
                response = web.StreamResponse(
                    status=answer.status, reason=answer.reason, headers=passed_on(answer.headers)
                )
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, TimeoutError):
            if response is None:
                return _waiting(request)
            if request.transport is not None:
                request.transport.abort()  # else half of an answer would look whole
            return response

    def _headers_of(self, request: web.Request, without: Collection[str] = ()) -> CIMultiDict[str]:
        headers = passed_on(request.headers, (*_KEPT_FROM_COMFYUI, *without))
        if cookies := self._sign_in.others_cookies(request.headers.get("Cookie", "")):
            headers["Cookie"] = cookies
        return headers


def _waiting(request: web.Request) -> web.Response:
    """ComfyUI is down; a browser's page looks again by itself."""
    headers = {"Retry-After": "3", "Cache-Control": "no-store"}
    if "text/html" in request.headers.get("Accept", ""):
        return web.Response(status=503, headers=headers, text=_WAITING, content_type="text/html")
    return web.Response(status=503, headers=headers, text="ComfyUI does not answer.\n")
