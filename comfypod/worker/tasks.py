"""Several things at once, of which all must succeed; and things that must not be left half done."""

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


async def to_the_end(work: Awaitable[Result]) -> Result:
    """The result of ``work``, which goes on when this is cancelled; the cancellation counts when it has ended."""
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        task.exception()  # seen; the cancellation is what is told
        raise cancellation
    return task.result()
