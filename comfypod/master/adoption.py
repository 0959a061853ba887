"""Masters look after each other: each says every few seconds that it is there, and what a silent one had is taken over.

DBOS starts again what a process of the same name left. A name may never come back, as that of a container; its requests
are put back into the queue by whichever other master notices first.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from logging import WARNING

from comfypod.errors import StoreUnavailable
from comfypod.logs import event
from comfypod.master.bearing import in_thread
from comfypod.master.engine import APPLICATION_VERSION, Engine
from comfypod.master.points import reached
from comfypod.master.store import Store

ADOPTION = "masters:adoption"
SWEEPING = "masters:sweeping"
HELD_SECONDS = 30.0
SWEEPING_SECONDS = 600.0
DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often a master does what; all in seconds.

    Args:
        beat: between its signs of life.
        silence: after so long without one, a master is held for dead.
        adoption: between looks for silent ones.
        sweeping: between removals of what is of no use any more.
        kept: so long requests stay after their end.
    """

    beat: float = 2.0
    silence: float = 30.0
    adoption: float = 3.0
    sweeping: float = SWEEPING_SECONDS
    kept: float = 30 * 24 * 3600.0

    @classmethod
    def keeping(cls, seconds: float) -> Rhythm:
        """One that keeps requests for so long, and little longer."""
        return cls(kept=seconds, sweeping=min(SWEEPING_SECONDS, seconds / 4))


@dataclass(slots=True)
class Membership:
    """This master among the others.

    ``drains`` is set when an operator wants it to end, ``is_displaced`` when a later process has taken its name.
    """

    store: Store
    name: str
    rhythm: Rhythm = field(default_factory=Rhythm)
    drains: asyncio.Event = field(default_factory=asyncio.Event)
    is_displaced: asyncio.Event = field(default_factory=asyncio.Event)
    _instance: str = field(default_factory=lambda: secrets.token_hex(8))

    async def join(self) -> None:
        """Say that it is there, before it takes anything: others adopt from whoever does not.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        await in_thread(self.store.beat, self.name, APPLICATION_VERSION, os.getpid(), self._instance)

    async def stay(self) -> None:
        """Give signs of life until this is cancelled; a database that is away is borne."""
        await _every(self.rhythm.beat, self._beat)

    async def help(self, engine: Engine) -> None:
        """Adopt and sweep until this is cancelled, which must be before the engine stops."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_every(self.rhythm.adoption, lambda: self._adopt(engine)))
            tasks.create_task(_every(self.rhythm.sweeping, lambda: self._sweep(engine)))

    async def leave(self) -> None:
        """Say that it is gone: what it left need not wait until it has been silent for long."""
        await in_thread(self.store.leave, self.name, self._instance)

    async def _beat(self) -> None:
        """A name belongs to the process that began last: DBOS has given that one our requests already."""
        found = {item.name: item.instance for item in await in_thread(self.store.masters)}
        if found.get(self.name, self._instance) != self._instance:
            event("displaced", WARNING, master=self.name)
            self.is_displaced.set()
        else:
            wish = await in_thread(self.store.beat, self.name, APPLICATION_VERSION, os.getpid(), self._instance)
            if wish == DRAIN:
                self.drains.set()

    async def _adopt(self, engine: Engine) -> None:
        """Take over what silent masters had. One master at a time: what one took over must not be taken from it."""
        if stranded := await engine.put_back_stranded():
            event("put_back", WARNING, requests=stranded)
        if not await self._silent(engine):
            return
        if not await in_thread(self.store.hold, ADOPTION, self._instance, HELD_SECONDS):
            return
        try:
            silent = await self._silent(engine)
            if silent:
                reached("before_adoption", self.name)
                event("adopted", WARNING, masters=sorted(silent), requests=await engine.adopt(silent))
        finally:
            await in_thread(self.store.let_go, ADOPTION, self._instance)

    async def _silent(self, engine: Engine) -> set[str]:
        """Those that have something under way, and do not say that they live."""
        heard_after = datetime.now(UTC) - timedelta(seconds=self.rhythm.silence)
        masters = await in_thread(self.store.masters)
        return await engine.executors() - {self.name, *(item.name for item in masters if item.beat_at > heard_after)}

    async def _sweep(self, engine: Engine) -> None:
        """Remove what has had its time, so that the database stays of one size."""
        if not await in_thread(self.store.hold, SWEEPING, self._instance, self.rhythm.sweeping):
            return
        await engine.sweep()
        await in_thread(self.store.prune, timedelta(seconds=self.rhythm.kept))


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except StoreUnavailable as error:
            event("store_unavailable", WARNING, cause=error.cause)
