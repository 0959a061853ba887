"""A master: takes requests from the store, has RunPod do them, and ends in two stages.

Draining, it takes nothing new and finishes what it has. Handing over, it leaves everything where it stands, within
seconds: what it had is taken up by its next start, or by another master.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from comfypod.completion import hold
from comfypod.errors import StoreUnavailable
from comfypod.logs import event
from comfypod.master.adoption import Membership, Rhythm
from comfypod.master.bearing import Bucket, Commits, in_thread
from comfypod.master.endpoints import Endpoints, MasterEndpoint
from comfypod.master.engine import KEPT_SECONDS, Engine, EngineOptions, open_store
from comfypod.master.follow import Pace
from comfypod.master.memory import keep_together
from comfypod.master.store import Store
from comfypod.master.watch import Watch
from comfypod.master.webhook_token import SECRET_NAME, webhook_url
from comfypod.master.workflow import Tools, carry

AHEAD = 1.2
"""So many jobs for each worker are on RunPod at most. One worker in five has its next job there already; the rest waits
with us, in order, where it can be cancelled and cannot be lost."""


@dataclass(frozen=True, slots=True)
class MasterOptions:
    """What a master is told.

    Args:
        database_url: where the store is.
        name: it takes up what the last process of this name left; no two at once.
        workers: how many the endpoints have together at most.
        webhook_base: the gateway's address as RunPod reaches it, if RunPod is to call when a job has ended.
    """

    database_url: str
    name: str
    workers: int
    webhook_base: str | None = None
    pace: Pace = field(default_factory=Pace)
    rhythm: Rhythm = field(default_factory=Rhythm)

    @property
    def most_at_once(self) -> int:
        """How many jobs are on RunPod at most, of all masters together."""
        return math.ceil(self.workers * AHEAD)


class Master:
    """One master; call `start`, then `run` until it returns."""

    def __init__(self, options: MasterOptions, endpoints: Sequence[MasterEndpoint], commits: Commits) -> None:
        keep_together()
        self._options = options
        self._endpoints = Endpoints(endpoints)
        self._bucket = Bucket(commits)
        self._store: Store = open_store(options.database_url)
        self._membership = Membership(self._store, options.name, options.rhythm)
        self._watch = Watch(self._store)

    async def start(self) -> None:
        """Take requests from now on.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        tools = Tools(
            self._store, self._bucket, self._endpoints, self._watch, self._options.pace, await self._webhooks()
        )
        options = self._options
        kept_seconds = min(KEPT_SECONDS, options.rhythm.kept)
        self._engine = Engine(
            EngineOptions(options.database_url, options.name, options.most_at_once, kept_seconds), partial(carry, tools)
        )
        await self._membership.join()
        await self._engine.start()
        event("master_started", master=options.name, most_at_once=options.most_at_once)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, which hands over; or until an operator wants it drained, and it is."""
        async with asyncio.TaskGroup() as tasks:
            service = [tasks.create_task(self._watch.run()), tasks.create_task(self._membership.stay())]
            helping = tasks.create_task(self._membership.help(self._engine))
            await _first_of(stop, self._membership.drains, self._membership.is_displaced)
            helping.cancel()
            await asyncio.wait([helping])
            await self._end(stop)
            for task in service:
                task.cancel()
        with suppress(StoreUnavailable):
            await self._membership.leave()
        self._store.close()
        event("master_ended", master=self._options.name)

    async def _end(self, stop: asyncio.Event) -> None:
        """Take nothing new; finish what is under way, unless it is to be handed over, now or while it goes on."""
        is_draining = not stop.is_set() and not self._membership.is_displaced.is_set()
        event("master_ends", master=self._options.name, drains=is_draining, under_way=self._engine.under_way)
        ending = asyncio.create_task(self._engine.stop())
        if is_draining:
            stopped = hold(asyncio.create_task(_first_of(stop, self._membership.is_displaced)))
            await asyncio.wait([ending, stopped], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
        self._engine.hand_over()
        await ending

    async def _webhooks(self) -> partial[str] | None:
        if self._options.webhook_base is None:
            return None
        secret = await in_thread(self._store.secret, SECRET_NAME)
        return partial(webhook_url, self._options.webhook_base, secret)


async def _first_of(*events: asyncio.Event) -> None:
    """Return when one of them is set."""
    tasks = [asyncio.create_task(item.wait()) for item in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
