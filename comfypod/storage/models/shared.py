"""One download for everybody in this process who wants the same file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from comfypod.deadline import Deadline
from comfypod.storage.models.progress import ModelProgress, OnModelProgress, Report


class SharedFetch:
    """A fetch that runs as long as somebody waits for it."""

    def __init__(self, model: str, work: Callable[[Report], Awaitable[Path]]) -> None:
        self._listeners: list[OnModelProgress] = []
        self._newest: ModelProgress | None = None
        self._waiters = 0
        self._abandoned = False
        self._task: asyncio.Future[Path] = asyncio.ensure_future(work(Report(model, self._tell)))

    @property
    def is_over(self) -> bool:
        """Whether it can no longer be joined."""
        return self._abandoned or self._task.done()

    async def join(self, deadline: Deadline, on_progress: OnModelProgress | None) -> Path:
        """Wait for the file; whoever leaves last, cancelled or out of time, ends the work and sees it ended."""
        self._waiters += 1
        if on_progress is not None:
            self._listeners.append(on_progress)
            if self._newest is not None:
                on_progress(self._newest)
        try:
            async with deadline.enforce("fetching a model"):
                return await asyncio.shield(self._task)
        finally:
            self._waiters -= 1
            if on_progress is not None:
                self._listeners.remove(on_progress)
            if self._waiters == 0 and not self._task.done():
                await self._abandon()

    async def _abandon(self) -> None:
        self._abandoned = True
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.exception()  # nobody is left to hear it

    def _tell(self, progress: ModelProgress) -> None:
        self._newest = progress
        for listener in list(self._listeners):
            listener(progress)
