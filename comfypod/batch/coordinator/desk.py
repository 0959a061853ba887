"""The store of batches, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

from comfypod.batch.store import BatchStore

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

THREADS: Final = 6
"""Fewer than the store has connections: none waits for one."""


class Desk:
    """Asks the store about one batch, in threads of its own: its transactions are short, but wait for a disk.

    Who does not wait for an answer any more does not end its transaction: call `close` before the store is closed.
    """

    def __init__(self, store: BatchStore, batch: int) -> None:
        self.store = store
        self.batch = batch
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="comfypod-batch")

    async def close(self) -> None:
        """Wait until nothing is asked any more. May be called twice."""
        await asyncio.to_thread(self._threads.shutdown)

    async def ask(
        self, question: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> Result:
        """What a method of the store answers."""
        answer = partial(question, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._threads, answer)
