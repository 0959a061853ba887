"""Calls that block on the network, in threads of their own.

The event loop's own threads are for files: the network may hold up all that it is given. Threads here do not keep the
process from ending, as those of `concurrent.futures` do: a call that hangs in a dead network takes half a minute.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class CallsInThreads:
    """At most so many calls at once; the others wait for their turn."""

    def __init__(self, most_at_once: int) -> None:
        self._places = asyncio.Semaphore(most_at_once)

    async def call(
        self, function: Callable[Parameters, Result], *arguments: Parameters.args, **options: Parameters.kwargs
    ) -> Result:
        """What the function returns or raises. If this is cancelled, it goes on, and keeps its place until it ends."""
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        future: Future[Result] = Future()
        future.set_running_or_notify_cancel()  # from now on it cannot be cancelled

        def leave(_: object) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits for places any more
                loop.call_soon_threadsafe(self._places.release)

        def run() -> None:
            try:
                result = function(*arguments, **options)
            except BaseException as error:  # noqa: BLE001 (the boundary of a thread: raised where it is awaited)
                future.set_exception(error)
            else:
                future.set_result(result)

        future.add_done_callback(leave)
        threading.Thread(target=run, name="comfypod-call", daemon=True).start()
        return await asyncio.wrap_future(future)
