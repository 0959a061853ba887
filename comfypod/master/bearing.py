"""The store and the bucket, awaited, and borne while they are away: a request waits for them, and is never given up.

Every call here may be made twice: each is a look, or a change that says from which state it may come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from logging import WARNING
from typing import ParamSpec, Protocol, TypeVar

from comfypod.errors import ComfyPodError, CommitsRefused, CommitsUnavailable, ProtocolViolation, StoreUnavailable
from comfypod.logs import event
from comfypod.retry import backoff_seconds
from comfypod.storage.commits import Committed, Lease

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

LONGEST_PAUSE_SECONDS = 10.0
THREADS = 16
"""As many as the store has connections."""


class Commits(Protocol):
    """What the master needs of the bucket; see `comfypod.storage.commits.Commits`."""

    async def result(self, key: str) -> Committed | None:
        """The result, if it was committed."""

    async def lease(self, key: str) -> Lease | None:
        """The lease, whoever held it last."""


_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="comfypod-store")


async def in_thread(
    function: Callable[Parameters, Result], *arguments: Parameters.args, **options: Parameters.kwargs
) -> Result:
    """Call the store in a thread of ours. Those of ``asyncio.to_thread`` are DBOS's, which ends them when it ends."""
    return await asyncio.get_running_loop().run_in_executor(_threads, partial(function, *arguments, **options))


async def borne(call: Callable[[], Awaitable[Result]], *troubles: type[ComfyPodError]) -> Result:
    """What the call returns, once it does not raise one of the troubles any more."""
    pauses: Iterator[float] = backoff_seconds(first=0.5, longest=LONGEST_PAUSE_SECONDS)
    while True:
        try:
            return await call()
        except troubles as error:
            event("waiting_for", WARNING, code=error.code, cause=str(error))
            await asyncio.sleep(next(pauses))


async def stored(
    method: Callable[Parameters, Result], *arguments: Parameters.args, **options: Parameters.kwargs
) -> Result:
    """Call a method of the store in a thread, until the database has done it."""

    async def call() -> Result:
        return await in_thread(method, *arguments, **options)

    return await borne(call, StoreUnavailable)


class Bucket:
    """The worker's bucket, read until it answers."""

    def __init__(self, commits: Commits) -> None:
        self._commits = commits

    async def result(self, key: str) -> Committed | None:
        """The result that was committed for a request, whoever made it."""

        async def call() -> Committed | None:
            return await self._commits.result(key)

        return await borne(call, CommitsUnavailable, CommitsRefused, ProtocolViolation)

    async def live_lease(self, key: str) -> Lease | None:
        """The lease of a worker that is at it now."""

        async def call() -> Lease | None:
            return await self._commits.lease(key)

        lease = await borne(call, CommitsUnavailable, CommitsRefused, ProtocolViolation)
        return lease if lease is not None and lease.is_live else None
