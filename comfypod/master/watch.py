"""What front ends want of requests that are under way: cancellations and hints, read for all of them in one look.

The database is the only channel between front ends and masters, so it is looked at, twice a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from comfypod.errors import StoreUnavailable
from comfypod.logs import event
from comfypod.master.bearing import in_thread
from comfypod.master.store import Store

LOOK_SECONDS = 0.5


class Wishes:
    """What is wanted of one request."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self.is_hinted = False
        self._changed = asyncio.Event()

    async def pause(self, seconds: float) -> None:
        """Let time pass, or less if it is cancelled or hinted at: at once if either is known already."""
        if self.is_cancelled or self.is_hinted:
            return
        self._changed.clear()
        await wait(self._changed, seconds)

    def tell(self, *, is_cancelled: bool, is_hinted: bool) -> None:
        """What was read."""
        self.is_cancelled, self.is_hinted = is_cancelled, is_hinted
        if is_cancelled or is_hinted:
            self._changed.set()


class Watch:
    """The wishes of all requests under way; `run` must run meanwhile."""

    def __init__(self, store: Store, look_seconds: float = LOOK_SECONDS) -> None:
        self._store = store
        self._look_seconds = look_seconds
        self._wishes: dict[str, list[Wishes]] = {}

    @contextmanager
    def of(self, key: str) -> Iterator[Wishes]:
        """The wishes of a request, while the body runs."""
        wishes = Wishes()
        self._wishes.setdefault(key, []).append(wishes)
        try:
            yield wishes
        finally:
            self._wishes[key].remove(wishes)
            if not self._wishes[key]:
                del self._wishes[key]

    async def run(self) -> None:
        """Look until this is cancelled. A database that is away is looked at again."""
        while True:
            await asyncio.sleep(self._look_seconds)
            if not self._wishes:
                continue
            try:
                signals = await in_thread(self._store.signals, list(self._wishes))
            except StoreUnavailable as error:
                event("store_unavailable", cause=error.cause)
                continue
            for key, signal in signals.items():
                for wishes in self._wishes.get(key, ()):
                    wishes.tell(is_cancelled=signal.is_cancelled, is_hinted=signal.is_hinted)


async def wait(moment: asyncio.Event, seconds: float) -> bool:
    """Wait until it is set, at most so long; whether it is."""
    try:
        async with asyncio.timeout(seconds):
            await moment.wait()
    except TimeoutError:
        return False
    return True
