"""Files that visitors have sent, for their runs: ``visitors/VISITOR/uploads/UPLOAD.json`` and ``UPLOAD.content``."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, suppress
from io import BufferedWriter
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from comfypod.completion import to_the_end
from comfypod.errors import FileNotFound, SavingFailed
from comfypod.logs import event
from comfypod.web.disk import WHERE, write_whole
from comfypod.web.documents import Document
from comfypod.web.identifiers import checked_visitor_id, is_item_id, is_visitor_id, new_id
from comfypod.web.runs.ledger import Kept, Ledger
from comfypod.web.runs.sniffing import HEAD_BYTES, Sniffed, sniff

LONGEST_NAME_BYTES = 120
"""A job's files may have 150."""
_NOT_IN_NAMES = '"<>|*?:[]'
Result = TypeVar("Result")


class Upload(Document):
    """A file that a visitor has sent; ``content_type`` is what it was found to be, whatever its name says."""

    id: str
    name: str
    content_type: str
    size_bytes: int
    width: int | None = None
    height: int | None = None


class Uploads:
    """The uploads of all visitors below ``folder``. Call `open` first."""

    def __init__(self, folder: Path, most_of_a_visitor: int, most_bytes: int) -> None:
        self._folder = folder
        self._ledger = Ledger(most_of_a_visitor, most_bytes)
        self._lock = threading.Lock()

    def open(self) -> None:
        """Look what there is, and remove what was cut short."""
        for uploads in self._folder.glob("visitors/*/uploads"):
            if not is_visitor_id(uploads.parent.name):
                continue
            for path in uploads.iterdir():
                if path.suffix != ".json" and not path.with_suffix(".json").exists():
                    path.unlink(missing_ok=True)
                elif path.suffix == ".content" and is_item_id(path.stem):
                    self._ledger.note(Kept(uploads.parent.name, path.stem, path.stat().st_size))

    async def save(self, visitor_id: str, name: str, chunks: AsyncIterator[bytes]) -> Upload:
        """Write what comes to disk as it comes. The oldest uploads make room if there are too many.

        What ``chunks`` raises leaves nothing behind, and is raised.

        Raises:
            SavingFailed: it could not be written.
        """
        upload_id = new_id()
        path = self._content(visitor_id, upload_id)
        try:
            size_bytes = await _write(path, chunks)
            found = await _on_disk(_sniffed, path)
            upload = Upload(
                id=upload_id,
                name=harmless_name(name),
                content_type=found.content_type,
                size_bytes=size_bytes,
                width=found.width,
                height=found.height,
            )
            await asyncio.to_thread(write_whole, path.with_suffix(".json"), upload.model_dump_json().encode())
        except BaseException:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            raise
        await asyncio.to_thread(self._keep, Kept(visitor_id, upload_id, size_bytes))
        return upload

    def get(self, visitor_id: str, upload_id: str) -> Upload:
        """What is known of an upload.

        Raises:
            FileNotFound: this visitor has no such upload (any more).
        """
        try:
            return Upload.model_validate_json(self.path(visitor_id, upload_id).with_suffix(".json").read_bytes())
        except (OSError, ValidationError) as error:
            raise FileNotFound("This upload") from error

    def path(self, visitor_id: str, upload_id: str) -> Path:
        """Where its content is.

        Raises:
            FileNotFound: this visitor has no such upload (any more).
        """
        with self._lock:
            is_there = is_item_id(upload_id) and self._ledger.has(visitor_id, upload_id)
        if not is_there:
            raise FileNotFound("This upload")
        return self._content(visitor_id, upload_id)

    def _content(self, visitor_id: str, upload_id: str) -> Path:
        return self._folder / "visitors" / checked_visitor_id(visitor_id) / "uploads" / f"{upload_id}.content"

    def _keep(self, item: Kept) -> None:
        with self._lock:
            self._ledger.note(item)
            for old in list(self._ledger.excess()):
                path = self._content(old.visitor_id, old.item_id)
                try:
                    path.with_suffix(".json").unlink(missing_ok=True)
                    path.unlink(missing_ok=True)
                except OSError as error:
                    event("upload_not_removed", logging.WARNING, upload=old.item_id, cause=error.strerror)
                self._ledger.forget(old.visitor_id, old.item_id)


def harmless_name(name: str) -> str:
    """A plain file name, as a job may have it: no folder, nothing unprintable, not hidden, not endless."""
    plain = "".join(character for character in name if character.isprintable() and character not in _NOT_IN_NAMES)
    last = plain.replace("\\", "/").rpartition("/")[2].strip().lstrip(".")
    stem, point, suffix = last.rpartition(".")
    ending = f".{suffix}" if point and suffix.isascii() and len(suffix) <= 10 else ""
    beginning = (stem if ending else last).encode()[: LONGEST_NAME_BYTES - len(ending)].decode(errors="ignore")
    return beginning.rstrip() + ending or "file"


async def _write(path: Path, chunks: AsyncIterator[bytes]) -> int:
    """Write what comes; how many bytes it was."""
    size_bytes = 0
    with ExitStack() as opened:
        file = await _on_disk(_created, path, opened)
        async for chunk in chunks:
            size_bytes += len(chunk)
            await _on_disk(file.write, chunk)
        await _on_disk(file.close)
    return size_bytes


async def _on_disk(call: Callable[..., Result], *arguments: Any) -> Result:  # noqa: ANN401 (of the call)
    """Make the call in a thread, to its end; what the system says against it is `SavingFailed`."""
    try:
        return await to_the_end(asyncio.to_thread(call, *arguments))
    except OSError as error:
        raise SavingFailed(WHERE, error.strerror or str(error)) from error


def _created(path: Path, opened: ExitStack) -> BufferedWriter:
    """A new file, which is closed with ``opened`` at the latest, also if nobody waits for it any more."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = path.open("xb")
    opened.callback(_closed, file)
    return file


def _closed(file: BufferedWriter) -> None:
    with suppress(OSError):  # what is left to be written does not fit: whoever wrote it has been told
        file.close()


def _sniffed(path: Path) -> Sniffed:
    with path.open("rb") as file:
        return sniff(file.read(HEAD_BYTES))
