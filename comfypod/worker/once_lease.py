"""A lease while a job runs under it: renewed, and let go of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Self, TypeVar

from comfypod.completion import to_the_end
from comfypod.errors import ComfyPodError, CommitsUnavailable, ProtocolViolation
from comfypod.logs import event
from comfypod.storage.commits import Commits, Held

RENEWALS = 3
"""In the life of a lease."""
RELEASE_SECONDS = 1.5
"""How long letting go may hold up a job that failed or was cancelled: a worker that is told to end has 2 s for it."""

Result = TypeVar("Result")


class LeaseLost(Exception):
    """Another has taken the lease over: this worker was away for too long."""


class LeaseKeeper:
    """Renews a lease inside its context, and releases it at the end unless ``is_settled``: there is a result then.

    A renewal that fails stops nothing. Others cannot reach the store either, as a rule; and if they can, and take over,
    the next renewal tells, or in the end the commit.
    """

    def __init__(self, commits: Commits, held: Held) -> None:
        self._commits = commits
        self._held = held
        self._renewing: asyncio.Task[None] | None = None
        self.is_settled = False

    async def __aenter__(self) -> Self:
        self._renewing = asyncio.create_task(self._renew())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await to_the_end(self._leave(is_lost=kind is LeaseLost))

    async def unless_lost(self, work: Awaitable[Result]) -> Result:
        """The result of ``work``, which is cancelled when another takes the lease over.

        Raises:
            LeaseLost: that happened; the work has ended.
        """
        if self._renewing is None:
            msg = "use LeaseKeeper as a context manager"
            raise RuntimeError(msg)
        task = asyncio.ensure_future(work)
        either: set[asyncio.Future[Any]] = {task, self._renewing}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await to_the_end(_ended(task))
        if task.cancelled():
            self._renewing.result()  # raises, if renewing has come to another end than that
            raise LeaseLost
        return task.result()

    async def _renew(self) -> None:
        """Return when another holds the lease."""
        while True:
            await asyncio.sleep(self._held.document.seconds / RENEWALS)
            try:
                held = await self._commits.renew(self._held)
            except (CommitsUnavailable, ProtocolViolation) as error:
                event("lease_not_renewed", logging.WARNING, cause=error)
                continue
            if held is None:
                event("lease_lost", logging.WARNING, key=self._held.key)
                return
            self._held = held

    async def _leave(self, *, is_lost: bool) -> None:
        if self._renewing is not None:
            await _ended(self._renewing)
        if is_lost or self.is_settled:
            return
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._commits.release(self._held)
        except (TimeoutError, ComfyPodError) as error:
            event("lease_not_released", logging.WARNING, key=self._held.key, cause=error)


async def _ended(task: asyncio.Future[Any]) -> None:
    """Cancel what may still run, and wait until it has ended."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # seen, whether or not anybody asks for it yet
