"""What is kept open between jobs, and closed when the event loop ends: the SDK's has no hook for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from typing import Any, Generic, TypeVar

from comfypod.completion import hold

Resource = TypeVar("Resource")


class Kept(Generic[Resource]):
    """A resource that the first use in an event loop opens, for all later uses in it.

    A task of its own owns it, and closes it when it is cancelled: `asyncio.run` cancels all tasks at its end.
    """

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[Resource]]) -> None:
        self._make = make
        self._opened: asyncio.Future[Resource] | None = None
        self._owner: asyncio.Task[None] | None = None

    async def get(self) -> Resource:
        """The resource. Raises what opening it raises; the next use then tries again."""
        loop = asyncio.get_running_loop()
        if self._opened is None or self._owner is None or self._owner.done() or self._opened.get_loop() is not loop:
            self._opened = loop.create_future()
            # In a context of its own: the job that opens it is one of many that use it.
            self._owner = hold(loop.create_task(self._own(self._opened), context=Context()))
        opened, owner = self._opened, self._owner
        either: set[asyncio.Future[Any]] = {opened, owner}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not opened.done():
            owner.result()  # raises: it could not be opened
        return opened.result()

    async def _own(self, opened: asyncio.Future[Resource]) -> None:
        async with self._make() as resource:
            opened.set_result(resource)
            await asyncio.Event().wait()  # for ever
