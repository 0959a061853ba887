"""Tasks that nobody waits for: kept, so that they are not collected, and heard of, if they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from comfypod.logs import log


class Tasks:
    """Tasks by name; of one name there is one at a time."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start ``work``, unless what goes by this name is still under way."""
        if name in self._tasks:
            work.close()
            return
        task = asyncio.create_task(work)
        self._tasks[name] = task
        task.add_done_callback(lambda ended: self._end(name, ended))

    async def stop(self, seconds: float) -> None:
        """Wait for all of them, and cancel those that take longer."""
        if self._tasks:
            _, late = await asyncio.wait(list(self._tasks.values()), timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1)

    def _end(self, name: str, task: asyncio.Task[None]) -> None:
        del self._tasks[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("discord_task_failed", exc_info=error, extra={"fields": {"task": name}})
