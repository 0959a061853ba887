"""A file's parts on their way to a bucket: read one by one, and never too many in memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from errno import EIO
from io import FileIO
from mmap import mmap
from pathlib import Path

from comfypod.storage.buckets.store import PART_BYTES


class UploadMemory:
    """What all uploads together may hold in memory, counted in parts. First come, first served."""

    def __init__(self, parts: int) -> None:
        self._free = asyncio.Semaphore(parts)
        self._turn = asyncio.Lock()  # one at a time gathers its parts: two halves would wait for each other

    @asynccontextmanager
    async def hold(self, parts: int) -> AsyncIterator[None]:
        """Wait until so many parts are free, and keep them."""
        held = 0
        try:
            async with self._turn:
                while held < parts:
                    await self._free.acquire()
                    held += 1
            yield
        finally:
            for _ in range(held):
                self._free.release()


async def parts_of(path: Path) -> AsyncGenerator[mmap]:
    """The file's content in blocks of `PART_BYTES`, the last one shorter. Raises OSError."""
    with await asyncio.to_thread(path.open, "rb", buffering=0) as file:
        while block := await asyncio.to_thread(_read_part, file):
            yield block


def _read_part(file: FileIO) -> mmap | None:
    """The file's next part, None at its end.

    A mapping goes back to the system as soon as the part is sent. A heap keeps what it once held, one for each thread:
    measured with 50 files of 5 MB, `bytes` made the peak twice as high.
    """
    size_bytes = min(PART_BYTES, os.fstat(file.fileno()).st_size - file.tell())
    if size_bytes <= 0:
        return None
    block = mmap(-1, size_bytes)
    position = 0
    with memoryview(block) as view:
        while position < size_bytes:
            count = file.readinto(view[position:])
            if not count:
                raise OSError(EIO, "it became shorter meanwhile")
            position += count
    return block
