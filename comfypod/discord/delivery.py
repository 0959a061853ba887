"""Tells ends: what stands in the outbox is shown in its message, until Discord has said that it is."""

from __future__ import annotations

import asyncio
import logging
import time

from comfypod.discord.endings import Endings
from comfypod.discord.leases import LeaseTimes, lease_of
from comfypod.discord.origin import FRONT_END
from comfypod.discord.tasks import Tasks
from comfypod.errors import (
    ComfyPodError,
    DeadlineExceeded,
    DiscordRefused,
    DiscordTokenRefused,
    DiscordUnavailable,
    DownloadFailed,
    RequestNotFound,
    StoreUnavailable,
)
from comfypod.logs import event
from comfypod.master.documents import OutboxItem
from comfypod.master.store import Store

AT_ONCE = 8
POLL_SECONDS = 0.4
AWAY_SECONDS = 3.0
TURN_PAUSE_SECONDS = 0.25
STOP_SECONDS = 10.0


class Delivery:
    """Delivers ends, a few at a time; ``owner`` is this process's name among all processes."""

    def __init__(self, store: Store, endings: Endings, owner: str, times: LeaseTimes) -> None:
        self._store = store
        self._endings = endings
        self._owner = owner
        self._times = times
        self._tasks = Tasks()

    async def run(self) -> None:
        """Deliver what there is, until cancelled."""
        while True:
            items: list[OutboxItem] = []
            try:
                if free := max(0, AT_ONCE - len(self._tasks)):
                    seconds = self._times.claim_seconds
                    items = await asyncio.to_thread(self._store.claim, FRONT_END, self._owner, seconds, free)
            except StoreUnavailable as error:
                event("discord_store_unavailable", logging.WARNING, cause=error.cause)
                await asyncio.sleep(AWAY_SECONDS)
            for item in items:
                self._tasks.start(item.identifier + str(item.attempts), self._deliver(item))
            await asyncio.sleep(POLL_SECONDS)

    async def stop(self) -> None:
        """Finish what is under way; what takes longer is done by whoever takes it next."""
        await self._tasks.stop(STOP_SECONDS)

    async def _deliver(self, item: OutboxItem) -> None:
        # Of its own, lest a slow try and the next one believe to be the same.
        owner = f"{self._owner}/end/{item.attempts}"
        try:
            if not await self._get_turn(item.key, owner):
                await self._postpone(item, "another process still shows its progress")
                return
            holding = asyncio.create_task(self._keep(item.key, owner))
            try:
                await self._show(item)
            finally:
                holding.cancel()
            await asyncio.to_thread(self._store.let_go, lease_of(item.key), owner)
        except StoreUnavailable as error:  # the item is taken again when its time is over
            event("discord_store_unavailable", logging.WARNING, key=item.key, cause=error.cause)

    async def _show(self, item: OutboxItem) -> None:
        try:
            request = await asyncio.to_thread(self._store.get, item.key)
            if request.is_ended:  # else it was replayed, and its new run has an end of its own
                await self._endings.show(request, looks_first=item.attempts > 1)
            await asyncio.to_thread(self._store.delivered, item)
        except (DiscordUnavailable, DiscordTokenRefused, DownloadFailed, DeadlineExceeded) as error:
            await self._postpone(item, str(error))
        except (DiscordRefused, RequestNotFound) as error:
            await self._give_up(item, error)

    async def _postpone(self, item: OutboxItem, cause: str) -> None:
        event("discord_end_postponed", logging.WARNING, key=item.key, cause=cause)
        await asyncio.to_thread(self._store.postpone, item, min(300.0, 2.0**item.attempts), cause)

    async def _give_up(self, item: OutboxItem, error: ComfyPodError) -> None:
        event("discord_end_given_up", logging.ERROR, key=item.key, cause=str(error))
        await asyncio.to_thread(self._store.give_up, item, str(error))

    async def _get_turn(self, key: str, owner: str) -> bool:
        """Wait until nobody else writes to the message: who shows progress lets go when it sees the end."""
        until = time.monotonic() + self._times.lease_seconds + 1
        while not await self._hold(key, owner):
            if time.monotonic() > until:
                return False
            await asyncio.sleep(TURN_PAUSE_SECONDS)
        return True

    async def _keep(self, key: str, owner: str) -> None:
        """Hold the lease for as long as this is not cancelled."""
        while True:
            await asyncio.sleep(self._times.renewed_after_seconds)
            try:
                await self._hold(key, owner)
            except StoreUnavailable as error:
                event("discord_store_unavailable", logging.WARNING, key=key, cause=error.cause)

    async def _hold(self, key: str, owner: str) -> bool:
        return await asyncio.to_thread(self._store.hold, lease_of(key), owner, self._times.lease_seconds)
