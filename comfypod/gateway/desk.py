"""The store, awaited: a tenant's requests, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import ParamSpec, TypeVar

from comfypod.errors import NothingFound, RequestNotFound
from comfypod.master.documents import Request
from comfypod.master.keys import is_key
from comfypod.master.states import QUEUED
from comfypod.master.store import Store

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

MASTER_SILENCE = timedelta(seconds=30)
THREADS = 12
"""Fewer than the store has connections: none waits for one."""


class Desk:
    """Asks the store in threads of its own: its transactions are short, but they wait for a disk or a network.

    Who does not wait for an answer any more does not end its transaction: call `close` before the store is closed.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="comfypod-gateway")

    async def close(self) -> None:
        """Wait until nothing is asked any more. May be called twice."""
        await asyncio.to_thread(self._threads.shutdown)

    async def ask(
        self, question: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> Result:
        """What a method of the store answers."""
        answer = partial(question, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._threads, answer)

    async def request(self, tenant: str, key: str) -> Request:
        """A tenant's request.

        Raises:
            NothingFound: there is none; or it is another tenant's, which is the same to whoever asks.
        """
        unknown = NothingFound(f"There is no job {key[:60]!r}")
        if not is_key(key):
            raise unknown
        try:
            request = await self.ask(self.store.get, key)
        except RequestNotFound as error:
            raise unknown from error
        if request.tenant != tenant:
            raise unknown
        return request

    async def living_masters(self) -> int:
        """How many masters have been heard of lately."""
        masters = await self.ask(self.store.masters)
        return sum(datetime.now(UTC) - master.beat_at < MASTER_SILENCE for master in masters)

    async def position(self, request: Request) -> int | None:
        """The place in the queue, 0 the next; None for what does not wait with us."""
        return await self.ask(self.store.position, request.key) if request.state == QUEUED else None
