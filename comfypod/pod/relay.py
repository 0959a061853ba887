"""Passes websocket messages between a browser and ComfyUI, so that neither the browser nor its line harms ComfyUI.

ComfyUI sends one message after the other to everybody, and waits for each to be taken (``server.py``,
``publish_loop``): one slow browser would hold up the messages of the worker's jobs. So its messages are read without
pause and kept here, and a browser that does not keep up is disconnected; the page connects again by itself.

ComfyUI forgets the newer of two connections of one client when the older one closes (``websocket_handler``). So the
older one is closed before a newer one is made.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager, suppress

import aiohttp
from aiohttp import WSCloseCode, WSMessage, WSMsgType, web
from yarl import URL

from comfypod.logs import event

MIBIBYTE = 1024**2
MESSAGE_LIMIT_BYTES = 100 * MIBIBYTE
"""The largest message of ComfyUI's: previews are small, but a node may send a whole picture."""
BROWSER_MESSAGE_LIMIT_BYTES = 4 * MIBIBYTE
"""What ComfyUI takes itself: the default of its aiohttp."""
BACKLOG_LIMIT_BYTES = 2 * MESSAGE_LIMIT_BYTES
HEARTBEAT_SECONDS = 30.0
"""How often a browser is asked for a sign of life; it also keeps proxies from ending a quiet connection."""
CLOSE_SECONDS = 1.0
LEAVE_SECONDS = 5.0
"""How long a newer connection waits for the older one's end."""
_FORWARDED = frozenset({WSMsgType.TEXT, WSMsgType.BINARY})


class TooSlow(Exception):
    """The browser takes messages more slowly than ComfyUI makes them."""


class Backlog:
    """Messages that the browser has not taken yet."""

    def __init__(self, limit_bytes: int = BACKLOG_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._messages: asyncio.Queue[WSMessage] = asyncio.Queue()

    def add(self, message: WSMessage) -> None:
        """Keep one more.

        Raises:
            TooSlow: that would be too much.
        """
        self._size_bytes += len(message.data)
        if self._size_bytes > self._limit_bytes:
            raise TooSlow
        self._messages.put_nowait(message)

    async def take(self) -> WSMessage:
        """The oldest, as soon as there is one."""
        message = await self._messages.get()
        self._size_bytes -= len(message.data)
        return message


class Connections:
    """Which connection of each client counts: the newest one."""

    def __init__(self) -> None:
        self._newest: dict[str, Relay] = {}

    async def replace(self, client_id: str, relay: Relay) -> None:
        """This relay serves the client from now on; return when ComfyUI has seen the end of the one before."""
        older, self._newest[client_id] = self._newest.get(client_id), relay
        if older is not None:
            older.is_replaced.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await older.has_left.wait()

    def remove(self, client_id: str, relay: Relay) -> None:
        """The relay has ended."""
        if self._newest.get(client_id) is relay:
            del self._newest[client_id]


class Relay:
    """One browser's websocket, and the one to ComfyUI that belongs to it."""

    def __init__(self, request: web.Request, session: aiohttp.ClientSession) -> None:
        self.is_replaced = asyncio.Event()
        self.has_left = asyncio.Event()
        self._request = request
        self._session = session
        self._backlog = Backlog()

    async def run(self, url: URL, headers: Mapping[str, str]) -> web.WebSocketResponse:
        """Connect both and pass messages until one of them leaves, or a newer connection takes this one's place.

        Raises:
            aiohttp.ClientError, TimeoutError: ComfyUI takes no connection; nothing was answered to the browser yet.
        """
        try:
            async with self._connect(url, headers) as comfyui:
                browser = web.WebSocketResponse(
                    compress=False,
                    heartbeat=HEARTBEAT_SECONDS,
                    max_msg_size=BROWSER_MESSAGE_LIMIT_BYTES,
                    protocols=[comfyui.protocol] if comfyui.protocol else (),
                    timeout=CLOSE_SECONDS,
                )
                await browser.prepare(self._request)
                event("page_connected")
                code = await self._pass_messages(browser, comfyui)
        finally:
            self.has_left.set()
        if code is None:
            # As with ComfyUI itself, the older connection of a client stays open and silent.
            async for _ in browser:
                pass
        await browser.close(code=code or WSCloseCode.OK)  # one that is gone does not hear it
        return browser

    def _connect(
        self, url: URL, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
        offered = self._request.headers.get("Sec-WebSocket-Protocol", "")
        # No compression: it costs ComfyUI's one Python thread 2.4 ms per preview. No pings: its loop may stall for
        # many seconds while a model loads.
        return self._session.ws_connect(
            url,
            headers=headers,
            protocols=[name.strip() for name in offered.split(",") if name.strip()],
            timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
            max_msg_size=MESSAGE_LIMIT_BYTES,
        )

    async def _pass_messages(
        self, browser: web.WebSocketResponse, comfyui: aiohttp.ClientWebSocketResponse
    ) -> int | None:
        """Return when it is over: the code to close the browser's connection with; None if another took its place."""
        tasks = [
            asyncio.create_task(self._read_comfyui(comfyui)),
            asyncio.create_task(self._write_to_browser(browser)),
            asyncio.create_task(_read_browser(browser, comfyui)),
            asyncio.create_task(self.is_replaced.wait()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        return self._close_code(ends)

    def _close_code(self, ends: Iterable[object]) -> int | None:
        for end in ends:
            if isinstance(end, TooSlow):
                event("page_too_slow", logging.WARNING, limit_bytes=BACKLOG_LIMIT_BYTES)
                return WSCloseCode.TRY_AGAIN_LATER
            if isinstance(end, Exception) and not isinstance(end, (OSError, aiohttp.ClientError)):
                raise end
        return None if self.is_replaced.is_set() else WSCloseCode.SERVICE_RESTART

    async def _read_comfyui(self, comfyui: aiohttp.ClientWebSocketResponse) -> None:
        async for message in comfyui:
            if message.type in _FORWARDED:
                self._backlog.add(message)

    async def _write_to_browser(self, browser: web.WebSocketResponse) -> None:
        while True:
            message = await self._backlog.take()
            await (browser.send_str if message.type is WSMsgType.TEXT else browser.send_bytes)(message.data)


async def _read_browser(browser: web.WebSocketResponse, comfyui: aiohttp.ClientWebSocketResponse) -> None:
    async for message in browser:
        if message.type in _FORWARDED:
            await (comfyui.send_str if message.type is WSMsgType.TEXT else comfyui.send_bytes)(message.data)
