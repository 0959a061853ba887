"""What must not be left half done when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

Result = TypeVar("Result")


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


_HELD: set[asyncio.Task[Any]] = set()


def hold(task: asyncio.Task[Result]) -> asyncio.Task[Result]:
    """Keep a task alive until it ends, though nobody else may: an event loop has weak references to its tasks.

    Source: docs.python.org, "Coroutines and tasks", ``asyncio.create_task``.
    """
    _HELD.add(task)
    task.add_done_callback(_HELD.discard)
    return task
