"""One HTTP session and one websocket to a ComfyUI, shared by all prompts that run there."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Self

from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.comfyui.routing import MessageRouter
from comfypod.comfyui.websocket import ConnectionClosed, connect
from comfypod.errors import ComfyUIUnavailable

Inbox = asyncio.Queue[str | bytes | ComfyUIUnavailable]
"""Messages that may concern one prompt, in order. An error stands where the websocket was lost: what ComfyUI said from
then on, until it was open again, is missing."""


class Connection:
    """The connection to the ComfyUI at ``url``; use it as an async context manager. It opens nothing before it must.

    A prompt takes an `inbox`, calls `open`, and then submits or asks: in another order messages would be missed. When
    its inbox holds an error it does the same again, and asks. The prompts share a client id, and there is never more
    than one websocket for it: when the older of two closes, ComfyUI forgets the newer one.
    """

    def __init__(self, url: str) -> None:
        self.http = ComfyUIHTTP(url)
        self.client_id = uuid.uuid4().hex
        self.is_lost = False
        self._router = MessageRouter()
        self._inboxes: dict[str, Inbox] = {}
        self._heard_at = 0.0
        self._opening: asyncio.Future[ComfyUIUnavailable | None] | None = None
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._close()
        finally:
            await self.http.__aexit__()

    @contextmanager
    def inbox(self, prompt_id: str) -> Iterator[Inbox]:
        """Collect what concerns a prompt; it has no limit, so that one that is not read holds up nobody."""
        inbox = self._inboxes[prompt_id] = Inbox()
        try:
            yield inbox
        finally:
            del self._inboxes[prompt_id]

    async def open(self) -> None:
        """Return when the websocket is open; at once if it is.

        Raises:
            ComfyUIUnavailable: nobody takes connections there.
            ComfyUIUnresponsive: somebody does, and does not answer in time.
        """
        while self._opening is None:
            if self._listening is not None and not self._listening.done():
                await asyncio.wait([self._listening])
                continue
            self._opening = asyncio.get_running_loop().create_future()
            # In a context of its own: the job that opens it is one of many that use it.
            self._listening = asyncio.create_task(self._listen(self._opening), context=Context())
        if error := await asyncio.shield(self._opening):
            raise error

    async def renew(self, quiet_seconds: float) -> None:
        """Close the websocket, to be opened anew, if it was silent to all prompts for ``quiet_seconds``.

        ComfyUI may have forgotten it without a word: when it notices the end of an older one only now, it takes the
        newer one's registration with it (``server.py: websocket_handler``).
        """
        is_open = self._opening is not None and self._opening.done()
        if is_open and time.monotonic() - self._heard_at >= quiet_seconds:
            await self._close()

    async def _close(self) -> None:
        self._opening = None
        if self._listening is None or self._listening.done():
            return
        if not self._listening.cancelling():  # else it closes already; a second time would interrupt that
            self._listening.cancel()
        await asyncio.wait([self._listening])

    async def _listen(self, opening: asyncio.Future[ComfyUIUnavailable | None]) -> None:
        """Open the websocket, read it without pause to its end, and tell of both."""
        end = ComfyUIUnavailable("connect", "the websocket was closed here")
        try:
            async with connect(self.http.url, self.client_id) as socket:
                self._begin(opening)
                while True:
                    self._hand_on(await socket.recv())
        except ComfyUIUnavailable as error:
            end = error
        except ConnectionClosed as error:
            end = ComfyUIUnavailable("connect", f"the websocket was closed ({error})")
        finally:
            self._end(opening, end)

    def _begin(self, opening: asyncio.Future[ComfyUIUnavailable | None]) -> None:
        self.is_lost = False
        self._heard_at = time.monotonic()
        self._router.connected()
        opening.set_result(None)

    def _hand_on(self, message: str | bytes) -> None:
        for prompt_id in self._router.recipients(message, self._inboxes):
            self._heard_at = time.monotonic()
            self._inboxes[prompt_id].put_nowait(message)

    def _end(self, opening: asyncio.Future[ComfyUIUnavailable | None], end: ComfyUIUnavailable) -> None:
        self._opening = None
        self.is_lost = True
        if not opening.done():
            opening.set_result(end)
            return
        for inbox in self._inboxes.values():
            inbox.put_nowait(end)
