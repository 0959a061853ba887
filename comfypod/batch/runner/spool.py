"""Results on the pod's disk until they have been sent: one folder for each item, whole or not counted."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from comfypod.batch.documents import File
from comfypod.batch.runner.ledger import Made
from comfypod.errors import DiskFailed
from comfypod.worker.workspace import plain_name

RESERVE_BYTES: Final = 10**9
"""Free disk below which nothing more is begun: ComfyUI and the ledger need some, and a result may be large."""
METADATA_FILE: Final = "result.json"
ARCHIVE_FILE: Final = "result.zip"


def job_of(identifier: str) -> str:
    """The job's name under which the worker makes an item, and puts its files: `comfypod.worker.delivery`."""
    return f"item-{identifier}"


class Spool:
    """The files of items that were made, in ``folder``. Its methods work on the disk: call them in a thread.

    All of them raise `DiskFailed`.
    """

    def __init__(self, folder: Path, reserve_bytes: int = RESERVE_BYTES) -> None:
        self.folder = folder
        self._reserve_bytes = reserve_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _failed(folder, error) from error

    def folder_of(self, identifier: str) -> Path:
        """Where the files of an item are."""
        return self.folder / plain_name(job_of(identifier))

    def path(self, relative: str) -> Path:
        """The file that `Made.paths` names."""
        return self.folder / relative

    def relative(self, path: Path) -> str:
        """How `Made.paths` names the file; `ValueError` if it lies elsewhere."""
        return path.relative_to(self.folder).as_posix()

    def write_metadata(self, identifier: str, folder: str, content: bytes) -> tuple[str, File]:
        """Write what is known of the result; returns its name for `Made.paths`, and what is sent to ``folder``."""
        path = self.folder_of(identifier) / METADATA_FILE
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise _failed(path, error) from error
        return self.relative(path), File(
            name=f"{folder}/{METADATA_FILE}",
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            media_type="application/json",
        )

    def write_archive(
        self, identifier: str, folder: str, members: Mapping[str, str], metadata: bytes
    ) -> tuple[str, File]:
        """Put an item's files, and what is known of them, into one; returns as `write_metadata` does.

        Nothing is compressed: pictures are already. ``members`` are the files by their names in the archive, as
        `Made.paths` names them; they are removed.
        """
        path = self.folder_of(identifier) / ARCHIVE_FILE
        sources = {name: self.path(relative) for name, relative in members.items()}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(path, "w") as archive:
                for name, source in sources.items():
                    archive.write(source, name)
                archive.writestr(METADATA_FILE, metadata)
            for source in sources.values():
                source.unlink()
            with path.open("rb") as content:
                sha256 = hashlib.file_digest(content, "sha256").hexdigest()
            size_bytes = path.stat().st_size
        except OSError as error:
            raise _failed(path, error) from error
        about = File(
            name=f"{folder}/{ARCHIVE_FILE}", sha256=sha256, size_bytes=size_bytes, media_type="application/zip"
        )
        return self.relative(path), about

    def has(self, relative: str, file: File) -> bool:
        """Whether the file is there, and what it was when it was made."""
        try:
            path = self.path(relative)
            if path.stat().st_size != file.size_bytes:
                return False
            with path.open("rb") as content:
                return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
        except OSError:
            return False

    def settle(self, paths: Iterable[str]) -> None:
        """Return when these files, and the folders that lead to them, would survive the machine's end."""
        folders = {self.folder}
        for relative in paths:
            path = self.path(relative)
            folders |= {parent for parent in path.parents if parent.is_relative_to(self.folder)}
            _synchronise(path)
        for folder in folders:
            _synchronise(folder)

    def discard(self, identifier: str) -> None:
        """Remove what there is of an item; what cannot be removed stays."""
        shutil.rmtree(self.folder_of(identifier), ignore_errors=True)

    def clean(self, kept: Collection[str]) -> None:
        """Remove all but the files of these items: what a killed process had half written."""
        names = {self.folder_of(identifier).name for identifier in kept}
        with suppress(OSError):
            for path in [path for path in self.folder.iterdir() if path.name not in names]:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def size_bytes(self, made: Made) -> int:
        """What the files of an item take."""
        total = 0
        for relative in made.paths:
            with suppress(OSError):
                total += self.path(relative).stat().st_size
        return total

    def has_room(self) -> bool:
        """Whether something more may be made."""
        try:
            return shutil.disk_usage(self.folder).free >= self._reserve_bytes
        except OSError as error:
            raise _failed(self.folder, error) from error


def _synchronise(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _failed(path, error) from error


def _failed(path: Path, error: OSError) -> DiskFailed:
    return DiskFailed(f"the results' folder or file {path.name!r}", error.strerror or str(error))
