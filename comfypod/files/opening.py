"""Files that coroutines open: in a thread, for a disk may be slow, and closed however that ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import IOBase
from typing import TypeVar

File = TypeVar("File", bound=IOBase)


@asynccontextmanager
async def opened(open_file: Callable[[], File]) -> AsyncIterator[File]:
    """What ``open_file`` returns, called in a thread. Closed at the end, and if this is cancelled in its beginning.

    Raises:
        OSError: it cannot be opened.
    """
    opening = asyncio.get_running_loop().run_in_executor(None, open_file)
    try:
        file = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise
    with file:
        yield file


def _close(opening: asyncio.Future[File]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
