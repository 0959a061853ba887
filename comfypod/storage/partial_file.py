"""A file while it is fetched: its parts, what is written of them, and the journal that lets another fetch go on."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

from pydantic import BaseModel, ValidationError

from comfypod.storage.safe_http import RemoteFile

BLOCK_BYTES = 1024 * 1024
"""So much is written, and read again for hashing, at a time."""


@dataclass(slots=True)
class Part:
    """A stretch of the file: what lies before ``position`` is written; ``end`` is None while nobody knows it."""

    start: int
    position: int
    end: int | None

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.position == self.end

    @property
    def missing_bytes(self) -> int:
        """What is not written yet; 0 while nobody knows."""
        return 0 if self.end is None else self.end - self.position

    def divided(self, share: float) -> list[Part]:
        """This part, or several with about ``share`` bytes missing in each."""
        pieces = max(1, round(self.missing_bytes / share))
        cuts = [self.position + self.missing_bytes * number // pieces for number in range(1, pieces)]
        borders = zip([self.start, *cuts], [*cuts, self.end], strict=True)
        return [Part(start, max(start, self.position), end) for start, end in borders]


class Journal(BaseModel, strict=True):
    """What is known of a partial file, beside it on the disk; parts are (start, position, end)."""

    source: str
    validator: str
    size_bytes: int
    parts: list[tuple[int, int, int]]

    def fits(self, source: str, written_bytes: int) -> bool:
        """Whether it tells of a file from there, all of it in one part or another, and ``written_bytes`` can be it."""
        end = 0
        for start, position, part_end in self.parts:
            if not (start == end and start <= position <= part_end) or (position > max(start, written_bytes)):
                return False
            end = part_end
        return self.source == source and end == self.size_bytes


class PartialFile:
    """The file while it is fetched; what lies before the first gap is hashed as it is written, the rest in the end.

    Its methods may run in threads. One that comes after `close` does nothing: its caller was cancelled.
    """

    def __init__(self, target: Path, remote: RemoteFile, *, keep: bool) -> None:
        self.parts: list[Part] = []
        self.keep = keep
        self.epoch = 0  # grows when all content is forgotten
        self._remote = remote
        self._target = target
        self._path = target.with_name(f".{target.name}.partial")
        self._journal_path = target.with_name(f".{target.name}.partial.json")
        self._lock = RLock()  # no thread may write to a descriptor that has become another file's
        self._descriptor = -1
        self._closed = False
        self._hash = hashlib.sha256()
        self._hashed_bytes = 0

    @property
    def written_bytes(self) -> int:
        """What is written, of all parts together."""
        return sum(part.position - part.start for part in self.parts)

    def open(self, size_bytes: int | None) -> None:
        """Begin; with what an earlier fetch left, if it is to be kept and may become a file of ``size_bytes``."""
        with self._lock:
            if self._closed:
                return
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o666)
            journal = self._read_journal() if self.keep else None
            if journal is not None and size_bytes in {None, journal.size_bytes}:
                self.parts = [Part(*part) for part in journal.parts]
                self._remote.size_bytes, self._remote.validator = journal.size_bytes, journal.validator
            else:
                self.truncate()

    def truncate(self) -> None:
        """Forget all content."""
        with self._lock:
            if not self._closed:
                self._journal_path.unlink(missing_ok=True)
                os.ftruncate(self._descriptor, 0)
                self._hash, self._hashed_bytes = hashlib.sha256(), 0
                self.epoch += 1

    def write(self, position: int, block: bytearray, epoch: int) -> None:
        """Write the whole block at ``position``, unless the ``epoch`` that it belongs to is over."""
        with self._lock:
            if self._closed or epoch != self.epoch:
                return
            written = 0
            while written < len(block):
                written += os.pwrite(self._descriptor, memoryview(block)[written:], position + written)
            if position == self._hashed_bytes:
                self._hash.update(block)
                self._hashed_bytes += len(block)

    def digest(self) -> str:
        """The content's sha256 in hexadecimal digits; reads what is not hashed yet."""
        while True:
            with self._lock:
                block = b"" if self._closed else os.pread(self._descriptor, BLOCK_BYTES, self._hashed_bytes)
                self._hash.update(block)
                self._hashed_bytes += len(block)
            if not block:
                return self._hash.hexdigest()

    def journal(self) -> str | None:
        """What `save` is to write, None while there is nothing to go on from; call it where ``parts`` change."""
        size_bytes, validator = self._remote.size_bytes, self._remote.validator
        parts = [(part.start, part.position, part.end) for part in self.parts if part.end is not None]
        if not (self.keep and parts) or size_bytes is None or validator is None:
            return None
        journal = Journal(source=self._remote.shown, validator=validator, size_bytes=size_bytes, parts=parts)
        return journal.model_dump_json()

    def save(self, journal: str) -> None:
        """Put the journal in place whole."""
        with self._lock:
            if not self._closed:
                fresh = self._journal_path.with_suffix(".new")
                fresh.write_text(journal)
                fresh.replace(self._journal_path)

    def _read_journal(self) -> Journal | None:
        try:
            journal = Journal.model_validate_json(self._journal_path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        return journal if journal.fits(self._remote.shown, self._path.stat().st_size) else None

    def put_in_place(self) -> None:
        """Give the file its name: it is whole."""
        with self._lock:
            if not self._closed:
                self._path.replace(self._target)
                self.keep = False

    def close(self) -> None:
        """Keep what was fetched, if it is of use and to be kept; else leave nothing behind."""
        with self._lock:
            if self._descriptor >= 0:
                with suppress(OSError):  # the failure that led here is the one to tell
                    if journal := self.journal():
                        self.save(journal)
                    else:
                        self._journal_path.unlink(missing_ok=True)
                        self._path.unlink(missing_ok=True)
                os.close(self._descriptor)
            self._closed = True
