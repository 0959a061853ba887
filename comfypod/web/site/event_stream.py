"""Server-sent events: what happens to a visitor's runs, as it happens (WHATWG HTML, section 9.2).

A stream ends when the browser leaves, when it no longer takes what is sent, or when the server stops; a browser then
connects again, and the first event of the new stream is the whole state.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

from aiohttp import web

from comfypod.web.runs.service import Runs
from comfypod.web.site.answers import json_text
from comfypod.web.site.entrance import visitor_of
from comfypod.web.site.options import Limits
from comfypod.web.site.visitors import Places

_COMMENT = b": still here\n\n"
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",  # nginx keeps answers back otherwise (its ngx_http_proxy_module, proxy_buffering)
}


class EventRoutes:
    """``api/events``."""

    def __init__(self, runs: Runs, limits: Limits) -> None:
        self._runs = runs
        self._comment_seconds = limits.comment_seconds
        self._silence_seconds = limits.silence_seconds
        self._places = Places("event streams of yours", limits.streams_at_once)
        self._is_closed = asyncio.Event()

    def routes(self, base_path: str) -> Iterable[web.RouteDef]:
        """The route, below the base path."""
        yield web.get(f"{base_path}api/events", self._stream, allow_head=False)

    def close(self) -> None:
        """End all streams."""
        self._is_closed.set()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        visitor_id, run_id = visitor_of(request), request.query.get("run")
        with self._places.one(visitor_id):
            async with aclosing(self._runs.events(visitor_id, run_id)) as events:
                first = await anext(events)  # where there is no such run, this says so before anything is answered
                response = web.StreamResponse(headers=_HEADERS)
                await response.prepare(request)
                try:
                    await self._send(response, _message(*first))
                    await self._pass_on(events, response)
                except TimeoutError:  # it takes nothing any more
                    if request.transport is not None:
                        request.transport.abort()
        return response

    async def _pass_on(self, events: AsyncIterator[tuple[str, Any]], response: web.StreamResponse) -> None:
        is_closed = asyncio.ensure_future(self._is_closed.wait())
        upcoming = asyncio.ensure_future(anext(events))
        try:
            while not self._is_closed.is_set():
                await asyncio.wait(
                    {upcoming, is_closed}, timeout=self._comment_seconds, return_when=asyncio.FIRST_COMPLETED
                )
                if upcoming.done():
                    message = _message(*upcoming.result())
                    upcoming = asyncio.ensure_future(anext(events))
                    await self._send(response, message)
                else:
                    await self._send(response, _COMMENT)
        except StopAsyncIteration:
            return
        finally:
            for task in (upcoming, is_closed):
                task.cancel()
            await asyncio.gather(upcoming, is_closed, return_exceptions=True)

    async def _send(self, response: web.StreamResponse, content: bytes) -> None:
        async with asyncio.timeout(self._silence_seconds):
            await response.write(content)


def _message(name: str, document: Any) -> bytes:  # noqa: ANN401 (any JSON)
    """One event; JSON has no line breaks of its own."""
    return f"event: {name}\ndata: {json_text(document)}\n\n".encode()
