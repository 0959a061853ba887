"""Fetch one file to disk: resumed where it broke off, bounded in size and time, hashed, put in place whole.

Blocks are written in a thread, one at a time: a network volume may take long, and the event loop must not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from comfypod.deadline import Deadline
from comfypod.errors import DownloadFailed, DownloadInterrupted
from comfypod.storage.partial_file import BLOCK_BYTES, Part, PartialFile
from comfypod.storage.safe_http import ContentChanged, RemoteFile, SafeHTTP, blocks
from comfypod.storage.tries import ATTEMPTS, Tries, insist

SMALLEST_PART_BYTES = 16 * 1024 * 1024  # below it, another connection gains nothing
JOURNAL_INTERVAL_SECONDS = 1.0

OnBytes = Callable[[int, int | None], None]


class ByteBudget:
    """How many bytes may still be taken, shared by the files of one job."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.taken_bytes = 0
        self._lock = Lock()  # base64 is decoded in threads

    def take(self, count: int, address: str = "a file of the job") -> None:
        """Take ``count`` bytes before they are written; what a download took stays taken if it fails.

        Raises:
            DownloadFailed: fewer are left; ``address`` is what it names. Nothing is taken then.
        """
        with self._lock:
            if self.taken_bytes + count > self.limit_bytes:
                raise DownloadFailed(address, f"all files together have more than {self.limit_bytes:,} bytes")
            self.taken_bytes += count


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A file that was fetched; ``content_type`` is what its source said, None if it said nothing."""

    size_bytes: int
    sha256: str
    content_type: str | None


class Downloader:
    """Fetches files over a `SafeHTTP`, which must be open."""

    def __init__(
        self, http: SafeHTTP, *, attempts: int = ATTEMPTS, smallest_part_bytes: int = SMALLEST_PART_BYTES
    ) -> None:
        """``attempts``: how many there are, counted anew when one brought something; smaller parts are not made."""
        self._http = http
        self._attempts = attempts
        self._smallest_part_bytes = smallest_part_bytes

    async def fetch(
        self,
        url: str,
        target: Path,
        deadline: Deadline,
        *,
        budget: ByteBudget | None = None,
        headers: Mapping[str, str] | None = None,
        sha256: str | None = None,
        size_bytes: int | None = None,
        connections: int = 1,
        on_bytes: OnBytes | None = None,
        keep_partial: bool = False,
    ) -> Downloaded:
        """Fetch ``url`` to ``target``, whose folder exists, and put it there once it is whole and right.

        Until then it is ``.NAME.partial`` beside it; only one fetch per target at a time. After a broken connection it
        goes on where it was, if the source can and its content is the same. Without ``budget`` and ``size_bytes`` only
        the deadline and the disk bound the size.

        Args:
            url: http or https.
            target: is replaced if it exists.
            deadline: of all tries together.
            budget: what the size is taken from: at once if the source announces it, else as it comes.
            headers: sent to the origin of ``url`` only, as `SafeHTTP.get` says.
            sha256: what the content must have, in hexadecimal digits.
            size_bytes: the size that the content must have.
            connections: how many parts to fetch at a time, where the source can; for files of many megabytes.
            on_bytes: told now and then how many bytes are there, and how many there will be (None: unknown).
            keep_partial: leave what was fetched if this fails or is cancelled or killed, so that the same call goes
                on from there later. What is proven wrong, or does not fit on the disk, is removed all the same.

        Raises:
            DownloadFailed: the source refused, or has not what it should, or the file cannot be written.
            DownloadInterrupted: it did not answer, was busy, or broke off, in several tries.
            DeadlineExceeded: the deadline passed.
        """
        remote = RemoteFile(self._http, url, headers)
        partial = PartialFile(target, remote, keep=keep_partial)
        new_tries, smallest = lambda: Tries(deadline, self._attempts), self._smallest_part_bytes
        transfer = _Transfer(remote, partial, new_tries, size_bytes, budget, on_bytes, max(1, connections), smallest)
        try:
            async with deadline.enforce("download"):
                await asyncio.to_thread(partial.open, size_bytes)
                return await transfer.run(sha256)
        except OSError as error:
            partial.keep = False  # a full disk is not to stay full
            raise DownloadFailed(remote.shown, f"it could not be written ({error.strerror or error})") from error
        finally:
            partial.close()


@dataclass(slots=True)
class _Transfer:
    """One call of `Downloader.fetch`: the parts of a file, and the requests that fill them."""

    remote: RemoteFile
    partial: PartialFile
    new_tries: Callable[[], Tries]
    size_bytes: int | None
    budget: ByteBudget | None
    on_bytes: OnBytes | None
    connections: int
    smallest_part_bytes: int
    charged_bytes: int = 0
    saved_at: float = 0.0

    async def run(self, sha256: str | None) -> Downloaded:
        """Fetch all parts and put the file in place, if it is what it should be."""
        tries = self.new_tries()
        while True:
            try:
                await self._plan()
                await self._fetch_parts()
                break
            except ContentChanged:
                await self._start_over()
                await tries.pause(DownloadInterrupted(self.remote.shown, "its content changed while it was fetched"))
        size_bytes = self.partial.written_bytes
        self._check_size(size_bytes)
        digest = await asyncio.to_thread(self.partial.digest)
        if sha256 is not None and digest != sha256.lower():
            raise self._wrong(f"its sha256 is {digest} instead of {sha256.lower()}")
        await asyncio.to_thread(self.partial.put_in_place)
        return Downloaded(size_bytes, digest, self.remote.content_type)

    async def _plan(self) -> None:
        """Have parts, and about as much missing in each as there is for each connection."""
        if not self.partial.parts:
            known = self.connections > 1 and await insist(self.remote.gives_parts, self.new_tries())
            self.partial.parts = [Part(0, 0, self.remote.size_bytes if known else None)]
        if self.remote.size_bytes is not None:
            self._check_size(self.remote.size_bytes)
        missing_bytes = sum(part.missing_bytes for part in self.partial.parts)
        share = max(self.smallest_part_bytes, missing_bytes / self.connections)
        self.partial.parts = [piece for part in self.partial.parts for piece in part.divided(share)]

    async def _start_over(self) -> None:
        """Begin anew with one stream: what changes, or comes in parts only now and then, is not put together again."""
        await asyncio.to_thread(self.partial.truncate)
        self.partial.parts = [Part(0, 0, None)]
        self.remote.size_bytes = self.remote.validator = None
        self.connections = 1

    async def _fetch_parts(self) -> None:
        slots = asyncio.Semaphore(self.connections)

        async def fetch(part: Part) -> None:
            async with slots:
                if not part.complete:
                    await insist(lambda: self._stream(part), self.new_tries(), lambda: part.position)

        try:
            async with asyncio.TaskGroup() as group:
                for part in self.partial.parts:
                    group.create_task(fetch(part))
        except ExceptionGroup as failures:
            failure = failures.exceptions[0]
            raise failure from failure.__cause__

    async def _stream(self, part: Part) -> None:
        """Request what is missing of the part, and write as much of it as comes."""
        async with self.remote.read(part.position, part.end) as response:
            if response.status == 200:
                await self._rewind(part)
            if part.end is None and self.remote.size_bytes is not None:
                self._check_size(self.remote.size_bytes)
                part.end = self.remote.size_bytes
            async with aclosing(blocks(response, BLOCK_BYTES)) as body:
                async for block in body:
                    await self._store(part, block)
                    if part.complete:
                        return
        if part.end is None:
            part.end = part.position
        if not part.complete:
            raise DownloadInterrupted(self.remote.shown, "it sent less than it announced")

    async def _rewind(self, part: Part) -> None:
        """The whole file comes, from its first byte on."""
        if len(self.partial.parts) > 1:
            raise ContentChanged
        if part.position:
            await asyncio.to_thread(self.partial.truncate)
        part.position, part.end = 0, None

    async def _store(self, part: Part, block: bytearray) -> None:
        if part.end is not None:
            del block[part.end - part.position :]  # more than was asked for
        elif self.size_bytes is not None and part.position + len(block) > self.size_bytes:
            raise self._wrong(f"it has more than the {self.size_bytes:,} bytes it should have")
        self._charge(part.position - part.start + len(block))
        await asyncio.to_thread(self.partial.write, part.position, block, self.partial.epoch)
        part.position += len(block)
        if self.on_bytes is not None:
            self.on_bytes(self.partial.written_bytes, self.remote.size_bytes)
        if time.monotonic() - self.saved_at >= JOURNAL_INTERVAL_SECONDS and (journal := self.partial.journal()):
            self.saved_at = time.monotonic()
            await asyncio.to_thread(self.partial.save, journal)

    def _check_size(self, size_bytes: int) -> None:
        if self.size_bytes not in {None, size_bytes}:
            raise self._wrong(f"it has {size_bytes:,} bytes instead of {self.size_bytes:,}")
        self._charge(size_bytes)

    def _charge(self, size_bytes: int) -> None:
        if self.budget is not None and size_bytes > self.charged_bytes:
            self.budget.take(size_bytes - self.charged_bytes, self.remote.shown)
            self.charged_bytes = size_bytes

    def _wrong(self, cause: str) -> DownloadFailed:
        self.partial.keep = False
        return DownloadFailed(self.remote.shown, cause)
