"""What happens to requests, seen by asking the store for their versions: once, for all who look.

The store is the only channel between the processes. One question a moment covers every request that anybody follows,
and a request is read anew only when its version is another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from logging import WARNING
from typing import Self

from comfypod.errors import ComfyPodError
from comfypod.gateway.desk import Desk
from comfypod.logs import event, log
from comfypod.master.documents import Preview, Request
from comfypod.master.states import QUEUED, RUNNING

POSITIONS_EVERY = 4
"""Places in the queue are asked for at every fourth look: one question for each request that waits."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A request at one moment, its place in the queue, and the newest preview while it runs."""

    request: Request
    position: int | None = None
    preview: Preview | None = field(default=None, repr=False)


class Topic:
    """One request that is followed by somebody."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.followers = 0
        self._changed = asyncio.Event()

    def show(self, snapshot: Snapshot) -> None:
        """There is something new: wake all who wait for it."""
        if snapshot != self.snapshot:
            self.snapshot = snapshot
            self._changed.set()
            self._changed = asyncio.Event()

    def wake(self) -> None:
        """Wake all who wait, although there is nothing new."""
        self._changed.set()

    async def after(self, seen: Snapshot, seconds: float) -> Snapshot:
        """The first snapshot that is not the one that was seen, or that one if nothing came for so long."""
        changed = self._changed
        if self.snapshot is seen:
            try:
                async with asyncio.timeout(seconds):
                    await changed.wait()
            except TimeoutError:
                return seen
        return self.snapshot


class Watch:
    """Asks while somebody follows anything. An async context manager: at its end all questions end."""

    def __init__(self, desk: Desk, poll_seconds: float) -> None:
        self._desk = desk
        self._poll_seconds = poll_seconds
        self._topics: dict[str, Topic] = {}
        self._is_needed = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None
        self._looks = 0
        self.is_closed = False

    async def __aenter__(self) -> Self:
        self._asking = asyncio.create_task(self._ask_for_ever(), name="watch")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def close(self) -> None:
        """Let everybody who follows anything go: the gateway stops."""
        self.is_closed = True
        for topic in self._topics.values():
            topic.wake()

    @asynccontextmanager
    async def follow(self, request: Request) -> AsyncIterator[Topic]:
        """The request's topic, kept new for as long as the body runs."""
        topic = self._topics.get(request.key)
        if topic is None:
            snapshot = await self._snapshot(request, None)
            topic = self._topics.setdefault(request.key, Topic(snapshot))
        topic.followers += 1
        self._is_needed.set()
        try:
            yield topic
        finally:
            topic.followers -= 1
            if not topic.followers:
                self._topics.pop(request.key, None)

    async def ended(self, request: Request, seconds: float) -> Request:
        """The request when it has ended, or as it is after so many seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        async with self.follow(request) as topic:
            snapshot = topic.snapshot
            while not snapshot.request.is_ended and not self.is_closed and (left := end - loop.time()) > 0:
                snapshot = await topic.after(snapshot, left)
            return snapshot.request

    async def _ask_for_ever(self) -> None:
        while True:
            if not self._topics:
                self._is_needed.clear()
                await self._is_needed.wait()
            try:
                await self._ask()
            except ComfyPodError as error:  # the store is away: those who follow wait, and are told nothing wrong
                event("gateway_cannot_watch", WARNING, code=error.code, cause=str(error))
            except Exception as error:  # noqa: BLE001 (the boundary of a service: without it, no stream says anything)
                log.error("gateway_watch_failed", exc_info=error)
            await asyncio.sleep(self._poll_seconds)

    async def _ask(self) -> None:
        topics = dict(self._topics)
        self._looks += 1
        versions = await self._desk.ask(self._desk.store.versions, [*topics])
        for key, topic in topics.items():
            seen = topic.snapshot
            if key not in versions:
                continue  # it was removed after its time; streams end by themselves sooner
            if versions[key] != seen.request.version:
                request = await self._desk.ask(self._desk.store.get, key)
                topic.show(await self._snapshot(request, seen))
            elif seen.request.state == QUEUED and self._looks % POSITIONS_EVERY == 0:
                # Others before it went: its version does not tell.
                topic.show(Snapshot(seen.request, await self._desk.position(seen.request)))

    async def _snapshot(self, request: Request, seen: Snapshot | None) -> Snapshot:
        preview = seen.preview if seen else None
        if request.state == RUNNING:
            preview = await self._desk.ask(self._desk.store.preview, request.key)
        return Snapshot(request, await self._desk.position(request), preview)
