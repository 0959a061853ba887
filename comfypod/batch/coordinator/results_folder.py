"""Results in a folder of the coordinator's machine: each file is written once, whole, and never again."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfypod.errors import InvalidRequest, SavingFailed

MOST_PARTS: Final = 8
MOST_PART_BYTES: Final = 200
BLOCK_BYTES: Final = 1024 * 1024
_PARTIAL: Final = ".partial"
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices: the folder may be copied there."""


@dataclass(slots=True)
class Arriving:
    """A file that is being written; `close` it in the end, whether or not it was kept."""

    path: Path
    partial: Path
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    size_bytes: int = 0
    _descriptor: int = -1

    def write(self, block: bytes) -> None:
        """Write the next bytes. Raises OSError."""
        if self._descriptor < 0:
            self.partial.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        view = memoryview(block)
        while view:
            view = view[os.write(self._descriptor, view) :]
        self.digest.update(block)
        self.size_bytes += len(block)

    def keep(self) -> bool:
        """Give it its name, if no file has that yet; it is on the disk then, after a power cut, too. Raises OSError."""
        if self._descriptor < 0:
            self.write(b"")
        os.fsync(self._descriptor)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self.partial, self.path)
        except FileExistsError:
            return False
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return True

    def close(self) -> None:
        """Let go of what was written, unless it was kept."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        with suppress(OSError):
            self.partial.unlink(missing_ok=True)


class ResultsFolder:
    """Files by their names, ``NAME/FILE``, below one folder. Its methods block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """Make the folder, and remove what was not finished.

        Raises:
            SavingFailed: it cannot be used.
        """
        try:
            (self.folder / _PARTIAL).mkdir(parents=True, exist_ok=True)
            for left_behind in (self.folder / _PARTIAL).iterdir():
                left_behind.unlink(missing_ok=True)
        except OSError as error:
            raise SavingFailed(str(self.folder), error.strerror or str(error), "results were to go there") from error

    def arriving(self, name: str) -> Arriving:
        """A place to write a file to.

        Raises:
            InvalidRequest: the name is none that a result may have.
        """
        return Arriving(self.path_of(name), self.folder / _PARTIAL / secrets.token_hex(16))

    def path_of(self, name: str) -> Path:
        """Where a file lies.

        Raises:
            InvalidRequest: the name leads elsewhere, is hidden, too long, or has what not every disk takes.
        """
        parts = name.split("/")
        if not 2 <= len(parts) <= MOST_PARTS or not all(_is_plain(part) for part in parts):
            raise InvalidRequest(f"{name[:200]!r} is no name of a result: NAME/FILE")
        return self.folder.joinpath(*parts)

    def found(self, name: str) -> tuple[int, str] | None:
        """Size and sha256 of a file that is there. Raises `InvalidRequest`, as `path_of`."""
        try:
            with self.path_of(name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                return file.tell(), digest
        except OSError:
            return None


def _is_plain(part: str) -> bool:
    is_harmless = part.isprintable() and not set('\\:*?"<>|').intersection(part)
    is_kept = bool(part) and not part.startswith(".") and not part.endswith((".", " "))
    return is_harmless and is_kept and len(part.encode()) <= MOST_PART_BYTES and not _RESERVED.fullmatch(part)
