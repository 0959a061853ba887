"""Who waits for a change of a request: one question to the store for all of them, a few times a second."""

from __future__ import annotations

import asyncio
import logging

from comfypod.errors import StoreUnavailable
from comfypod.logs import event
from comfypod.master.store import Store

POLL_SECONDS = 0.4
AWAY_SECONDS = 3.0


class Changes:
    """Asks for the versions of the requests that somebody waits for, while `run` does."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, tuple[int, asyncio.Event]] = {}

    async def wait(self, key: str, version: int, seconds: float) -> None:
        """Return when the request has another version than this one, or ``seconds`` have passed."""
        changed = asyncio.Event()
        self._waiting[key] = (version, changed)
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            pass
        finally:
            del self._waiting[key]

    async def run(self) -> None:
        """Ask, until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            asked = dict(self._waiting)
            if not asked:
                continue
            try:
                versions = await asyncio.to_thread(self._store.versions, list(asked))
            except StoreUnavailable as error:
                event("discord_store_unavailable", logging.WARNING, cause=error.cause)
                await asyncio.sleep(AWAY_SECONDS)
                continue
            for key, (version, changed) in asked.items():
                if versions.get(key) != version:
                    changed.set()
