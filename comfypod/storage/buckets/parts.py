"""A file's parts on their way to a bucket: read one by one, and never too many in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from io import RawIOBase

from comfypod.files.content import FileContent, read_block
from comfypod.files.opening import opened
from comfypod.storage.buckets.store import PART_BYTES, Block

_UNIT_BYTES = 1024**2


class UploadMemory:
    """What all uploads together may hold in memory, a bound in bytes. First come, first served."""

    def __init__(self, limit_bytes: int) -> None:
        self._free = asyncio.Semaphore(limit_bytes // _UNIT_BYTES)
        self._turn = asyncio.Lock()  # one at a time gathers its share: two halves would wait for each other

    @asynccontextmanager
    async def hold(self, size_bytes: int) -> AsyncIterator[None]:
        """Wait until so many bytes are free, and keep them."""
        held, units = 0, -(-size_bytes // _UNIT_BYTES)
        try:
            async with self._turn:
                while held < units:
                    await self._free.acquire()
                    held += 1
            yield
        finally:
            for _ in range(held):
                self._free.release()


class FileParts:
    """The content of a file in parts of `PART_BYTES`, each hashed as it is read."""

    def __init__(self, content: FileContent, size_bytes: int) -> None:
        self._content = content
        self._left_bytes = size_bytes
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of what has been read so far, in hexadecimal digits."""
        return self._digest.hexdigest()

    async def read(self) -> AsyncGenerator[Block]:
        """The parts, the last one shorter. Raises OSError."""
        async with opened(self._content.open) as file:
            while True:
                yield await asyncio.to_thread(self._next, file)
                if self._left_bytes == 0:
                    return

    def _next(self, file: RawIOBase) -> Block:
        part = read_block(file, min(PART_BYTES, self._left_bytes), self._digest)
        self._left_bytes -= len(part)
        return part
