"""Work that is done to its end although whoever asked for it has left: half of it would be worse than none."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class Begun:
    """What was begun and has not ended. `finish` it in the end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def to_the_end(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Its result, or what it raises. If this is cancelled, it goes on."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def finish(self, allowed_seconds: float) -> None:
        """Wait for all of it, and give up what takes longer."""
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=allowed_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # raised to whoever asked, if he is still there
