"""Shows requests while they wait and run: each in its message, by one process of the bot at a time.

Who shows a request holds a lease on it. An edit takes less time than the lease lasts, so that none comes from somebody
who has lost it; and who was frozen in between, and finds the lease gone, shows the end once more over what it wrote.
What nobody shows, for a process died or a new one was started, is taken up by whoever looks next.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from comfypod.discord.changes import Changes
from comfypod.discord.endings import Endings
from comfypod.discord.leases import LeaseTimes, lease_of
from comfypod.discord.messages import Shown, show_progress
from comfypod.discord.origin import FRONT_END, Origin
from comfypod.discord.pace import SHORTEST_GAP, seconds_until_look
from comfypod.discord.replies import MessageGone, Picture, Replies
from comfypod.discord.tasks import Tasks
from comfypod.errors import ComfyPodError, DiscordError, DiscordUnavailable, RequestNotFound, StoreUnavailable
from comfypod.logs import event
from comfypod.master.documents import Request
from comfypod.master.states import ACTIVE, QUEUED, RUNNING
from comfypod.master.store import Store

SWEEP_SECONDS = 2.0
LEFT_ALONE = timedelta(seconds=8)
"""A request so young, without a message, is being acknowledged by whoever took it."""
PAGE = 500
LABELS = {"front_end": FRONT_END}
_SUFFIXES = {"image/png": "png", "image/webp": "webp"}


@dataclass(slots=True)
class _View:
    """What is shown of a request, as far as this process knows."""

    shown: Shown | None = None
    preview_number: int = 0
    position: int | None = None
    written_at: float = -SHORTEST_GAP
    held_at: float = 0.0
    is_lost: bool = False


class Showing:
    """The requests that this process shows; ``owner`` is its name among all processes."""

    def __init__(self, store: Store, replies: Replies, endings: Endings, owner: str, times: LeaseTimes) -> None:
        self._store = store
        self._replies = replies
        self._endings = endings
        self._owner = f"{owner}/progress"
        self._changes = Changes(store)
        self._times = times
        self._tasks = Tasks()
        self._shown_elsewhere: dict[str, float] = {}
        self._stopping = asyncio.Event()

    def begin(self, key: str) -> None:
        """Show a request from now on, unless this process does; another that does is left alone."""
        if not self._stopping.is_set():
            self._tasks.start(key, self._show(key))

    async def run(self) -> None:
        """Take up what nobody shows, until cancelled."""
        watching = asyncio.create_task(self._changes.run())
        try:
            while True:
                began_at = time.monotonic()
                await self._sweep()
                # A tenth of the time at most, however many there are.
                await asyncio.sleep(max(SWEEP_SECONDS, 10 * (time.monotonic() - began_at)))
        finally:
            watching.cancel()

    async def stop(self) -> None:
        """Let go of everything; what is being written is written to its end."""
        self._stopping.set()
        await self._tasks.stop(self._times.write_seconds)

    async def _sweep(self) -> None:
        patience = self._times.asked_again_after_seconds
        recent = {key: at for key, at in self._shown_elsewhere.items() if time.monotonic() - at < patience}
        self._shown_elsewhere = recent
        before: str | None = None
        while True:
            try:
                page = await asyncio.to_thread(
                    self._store.list, states=ACTIVE, labels=LABELS, before=before, limit=PAGE
                )
            except StoreUnavailable as error:
                event("discord_store_unavailable", logging.WARNING, cause=error.cause)
                return
            for request in page:
                is_ready = request.origin.get("message_id") or _is_orphaned(request)
                if is_ready and request.key not in recent:
                    self.begin(request.key)
            if len(page) < PAGE:
                return
            before = page[-1].key

    async def _show(self, key: str) -> None:
        """Show one request until it ends, another process shows it, or this one stops."""
        view = _View()
        try:
            if not await self._hold(key, view):
                self._shown_elsewhere[key] = time.monotonic()
                return
            await self._follow(key, view)
            await asyncio.to_thread(self._store.let_go, lease_of(key), self._owner)
        except (StoreUnavailable, RequestNotFound) as error:
            event("discord_show_broke_off", logging.WARNING, key=key, cause=str(error))

    async def _follow(self, key: str, view: _View) -> None:
        while not self._stopping.is_set():
            request = await asyncio.to_thread(self._store.get, key)
            if request.is_ended:
                return  # its end is told by whoever takes it from the outbox
            if not await self._hold(key, view):
                return
            await self._refresh(request, view)
            await self._pause(request, view)

    async def _refresh(self, request: Request, view: _View) -> None:
        """Bring the message up to date, if it is not."""
        is_queued = request.state == QUEUED
        view.position = await asyncio.to_thread(self._store.position, request.key) if is_queued else None
        origin = Origin.from_json(request.origin)
        shown = show_progress(request, origin, view.position)
        pictures = await self._new_preview(request, view)
        if view.is_lost or (shown == view.shown and not pictures):
            return
        try:
            await self._write(request, origin, shown, pictures)
            view.shown = shown
        except MessageGone:
            view.is_lost = True  # somebody deleted it; the result gets a new one
        except DiscordError as error:
            view.is_lost = not isinstance(error, DiscordUnavailable)
            event("discord_progress_not_shown", logging.WARNING, key=request.key, cause=str(error))
        view.written_at = time.monotonic()
        if view.written_at - view.held_at > self._times.lease_seconds:
            await self._repair(request.key)

    async def _write(self, request: Request, origin: Origin, shown: Shown, pictures: list[Picture] | None) -> None:
        seconds = self._times.write_seconds
        if origin.message_id is None and _is_orphaned(request):
            # Whoever took it died before it was acknowledged, or before it could say where the reply is.
            found = await self._replies.edit_or_send(request.key, origin, shown, pictures or [], seconds)
        else:
            found = await self._replies.edit(request.key, origin, shown, pictures, seconds)
        if found != origin:
            await asyncio.to_thread(self._store.set_origin, request.key, found.to_json())

    async def _new_preview(self, request: Request, view: _View) -> list[Picture] | None:
        """The preview, if there is one that was not shown yet."""
        if request.state != RUNNING:
            return None
        preview = await asyncio.to_thread(self._store.preview, request.key)
        if preview is None or preview.number == view.preview_number:
            return None
        view.preview_number = preview.number
        return [Picture(f"preview.{_SUFFIXES.get(preview.content_type, 'jpg')}", preview.data)]

    async def _pause(self, request: Request, view: _View) -> None:
        gap = view.written_at + SHORTEST_GAP - time.monotonic()
        changed = asyncio.create_task(self._wait(request, view, max(0.0, gap)))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({changed, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            stopping.cancel()

    async def _wait(self, request: Request, view: _View, gap: float) -> None:
        """Until there may be something new to show; but an end is noticed at once, whatever the gap."""
        waited = time.monotonic()
        await self._changes.wait(request.key, request.version, seconds_until_look(view.position))
        left = gap - (time.monotonic() - waited)
        if left > 0 and not (await asyncio.to_thread(self._store.get, request.key)).is_ended:
            await asyncio.sleep(left)

    async def _hold(self, key: str, view: _View) -> bool:
        """Whether this process may write; the lease is renewed before it gets old."""
        if view.held_at and time.monotonic() - view.held_at < self._times.renewed_after_seconds:
            return True
        asked_at = time.monotonic()
        if not await asyncio.to_thread(self._store.hold, lease_of(key), self._owner, self._times.lease_seconds):
            return False
        view.held_at = asked_at
        return True

    async def _repair(self, key: str) -> None:
        """This process was frozen, and its edit may have come after the end."""
        event("discord_lease_was_lost", logging.WARNING, key=key)
        request = await asyncio.to_thread(self._store.get, key)
        try:
            if request.is_ended:
                await self._endings.show(request)
        except ComfyPodError as error:
            event("discord_end_not_repaired", logging.ERROR, key=key, cause=str(error))


def _is_orphaned(request: Request) -> bool:
    """Whether whoever took it should have said by now where its message is."""
    return datetime.now(UTC) - request.created_at > LEFT_ALONE
