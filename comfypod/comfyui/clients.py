"""The connection of a worker to its ComfyUI, kept open from job to job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context

from comfypod.comfyui.client import ComfyUI, Patience
from comfypod.comfyui.connection import Connection
from comfypod.comfyui.server import Server
from comfypod.completion import hold

FRESH_SECONDS = 60.0


class ComfyUIClients:
    """Lends every job a client of the ComfyUI that it runs on; all jobs on one ComfyUI share one connection.

    Nothing is opened before, so it may be made outside an event loop. The connection is closed when its ComfyUI is
    replaced or was lost, and at the end of the event loop.

    Args:
        patience: how long the clients bear what.
        fresh_seconds: a connection that nobody used for so long is made anew; what lies between may have dropped it.
    """

    def __init__(self, patience: Patience | None = None, fresh_seconds: float = FRESH_SECONDS) -> None:
        self._patience = patience
        self._fresh_seconds = fresh_seconds
        self._kept: _KeptConnection | None = None

    @asynccontextmanager
    async def of(self, server: Server) -> AsyncIterator[ComfyUI]:
        """A client of ``server``; afterwards nothing of its prompts is left there."""
        if self._kept is None or not self._kept.serves(server, self._fresh_seconds):
            if self._kept is not None:
                self._kept.retire()
            self._kept = _KeptConnection(server)
        async with self._kept.used() as connection, ComfyUI.on(connection, server, self._patience) as comfyui:
            yield comfyui


class _KeptConnection:
    """A connection and how many use it.

    A task of its own opens and closes it, so that it is closed when `asyncio.run` cancels all tasks at the end; but not
    before its users are through: they take their prompts off ComfyUI then.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._users = 0
        self._used_at = time.monotonic()
        self._is_retired = False
        self._unneeded = asyncio.Event()
        self._entered: asyncio.Future[Connection] = self._loop.create_future()
        self._keeping = hold(asyncio.create_task(self._keep(), context=Context()))

    def serves(self, server: Server, fresh_seconds: float) -> bool:
        """Whether another job may use it, for this server and in this event loop."""
        is_open = not self._is_retired and not self._keeping.done()
        if not is_open or self._server is not server or self._loop is not asyncio.get_running_loop():
            return False
        is_fresh = time.monotonic() - self._used_at < fresh_seconds
        return self._users > 0 or (is_fresh and not self._is_broken())

    def retire(self) -> None:
        """Have it closed as soon as nobody uses it any more."""
        self._is_retired = True
        if not self._users and self._loop is asyncio.get_running_loop():
            self._unneeded.set()

    @asynccontextmanager
    async def used(self) -> AsyncIterator[Connection]:
        """Use it; whoever is the last to use a broken one has it closed."""
        self._users += 1
        try:
            yield await asyncio.shield(self._entered)
        finally:
            self._users -= 1
            self._used_at = time.monotonic()
            if not self._users and (self._is_retired or self._is_broken()):
                self.retire()

    def _is_broken(self) -> bool:
        is_lost = self._entered.done() and self._entered.result().is_lost
        return is_lost or self._server.death("connect") is not None

    async def _keep(self) -> None:
        async with Connection(self._server.url) as connection:
            self._entered.set_result(connection)
            try:
                await self._unneeded.wait()
            finally:
                self.retire()
                await self._unneeded.wait()
