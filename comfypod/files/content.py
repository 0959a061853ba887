"""What is handed over of a file: its bytes, of which some may be replaced, without writing a second file."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from errno import EIO
from io import FileIO, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_HUGE_PAGES = getattr(mmap, "MADV_HUGEPAGE", None)  # Linux has them
_COPIED_BYTES = 1024**2
_STEP_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Patch:
    """``data`` in place of the bytes from ``start`` up to ``end``."""

    start: int
    end: int
    data: bytes


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file's bytes with ``patches``, which are in order and do not overlap."""

    path: Path
    patches: Sequence[Patch] = ()

    def size_bytes(self) -> int:
        """How many bytes it has. Raises OSError."""
        changed = sum(len(patch.data) - (patch.end - patch.start) for patch in self.patches)
        return self.path.stat().st_size + changed

    def open(self) -> RawIOBase:
        """Open it for reading, without a buffer. Raises OSError."""
        file = FileIO(self.path)
        return _Patched(file, self.patches) if self.patches else file

    def read(self, digest: hashlib._Hash, size_bytes: int | None = None) -> mmap.mmap | bytes:
        """The first ``size_bytes``, or all of it, which ``digest`` takes in, too. Raises OSError."""
        with self.open() as file:
            return read_block(file, self.size_bytes() if size_bytes is None else size_bytes, digest)

    def copy_to(self, target: Path) -> None:
        """Write it to ``target``. Raises OSError."""
        with self.open() as source, target.open("wb") as copy:
            while block := source.read(_COPIED_BYTES):
                copy.write(block)


def read_block(file: RawIOBase, size_bytes: int, digest: hashlib._Hash) -> mmap.mmap | bytes:
    """The next ``size_bytes``, in memory that goes back to the system as soon as nobody needs it.

    ``digest`` takes in each step while it is still in the processor's cache.

    A heap keeps what it once held, one for each thread. A mapping does not, but each fresh page of it costs more than
    what is read into it; huge pages, where the system has them, cost a fifth (200 MB: 0.28 s of CPU time in shared
    small pages, which are `mmap`'s default, 0.12 in private ones, 0.03 in private huge ones).

    Raises:
        OSError: it cannot be read, or has become shorter.
    """
    if size_bytes == 0:
        return b""  # no mapping is that short
    block = mmap.mmap(-1, size_bytes, flags=_ANONYMOUS)
    if _HUGE_PAGES is not None:
        block.madvise(_HUGE_PAGES)
    position = 0
    with memoryview(block) as view:
        while position < size_bytes:
            count = file.readinto(view[position : position + _STEP_BYTES])
            if not count:
                raise OSError(EIO, "it became shorter meanwhile")
            digest.update(view[position : position + count])
            position += count
    return block


class _Patched(RawIOBase):
    """Reads a file from its beginning to its end, with patches."""

    def __init__(self, file: FileIO, patches: Sequence[Patch]) -> None:
        self._file = file
        self._patches = list(patches)
        self._pending = memoryview(b"")  # of a patch that was reached

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        while self._patches and not self._pending and self._file.tell() == self._patches[0].start:
            patch = self._patches.pop(0)
            self._pending = memoryview(patch.data)
            self._file.seek(patch.end)
        if self._pending:
            count = min(len(target), len(self._pending))
            target[:count] = self._pending[:count]
            self._pending = self._pending[count:]
            return count
        limit = self._patches[0].start - self._file.tell() if self._patches else len(target)
        return self._file.readinto(target[:limit]) or 0

    def close(self) -> None:
        self._file.close()
        super().close()
