"""Several things at once, of which all must succeed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def for_each(items: Iterable[Item], action: Callable[[Item], Awaitable[Result]], at_once: int) -> list[Result]:
    """The results of ``action`` for all items, in their order, ``at_once`` of them at a time.

    When one fails the others are cancelled, and its error is raised when they have ended.
    """
    places = asyncio.Semaphore(at_once)

    async def act(item: Item) -> Result:
        async with places:
            return await action(item)

    tasks = [asyncio.ensure_future(act(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
