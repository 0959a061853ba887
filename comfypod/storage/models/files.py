"""Where model files lie on this machine, in which state, and what is noted beside them. No network."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from comfypod.errors import ConfigurationError, ModelFetchFailed
from comfypod.storage.models.manifest import ModelEntry, ModelManifest

Status = Literal["present", "missing", "partial", "wrong size", "outdated"]
"""``outdated``: it was fetched here, and the manifest asks for another content by now."""


@dataclass(frozen=True, slots=True)
class FetchRecord:
    """What is noted beside a file that was fetched here; only such files may be replaced or evicted."""

    sha256: str
    size_bytes: int
    source: str


@dataclass(frozen=True, slots=True)
class LocalModel:
    """How an entry stands on this machine; ``path`` is where the file is or will be."""

    entry: ModelEntry
    status: Status
    path: Path
    size_bytes: int | None = None
    record: FetchRecord | None = None


class ModelFolders:
    """ComfyUI's folders: for each kind the directories where its files may lie, in the order they are searched."""

    def __init__(self, folders: Mapping[str, Sequence[Path]]) -> None:
        self._folders = folders

    @classmethod
    def below(cls, directories: Sequence[Path], manifest: ModelManifest) -> ModelFolders:
        """One folder per kind below each of the directories, laid out as ComfyUI's ``models/`` is."""
        kinds = {entry.folder for entry in manifest.entries}
        return cls({kind: [directory / kind for directory in directories] for kind in kinds})

    def look(self, entry: ModelEntry) -> LocalModel:
        """How the entry stands now."""
        directories = self._directories(entry)
        for path in (directory / entry.name for directory in directories):
            if path.is_file():
                return _found(entry, path)
        path = self._destination(directories) / entry.name
        begun = any(part.exists() for part in partial_paths(path))
        return LocalModel(entry, "partial" if begun else "missing", path)

    def target(self, entry: ModelEntry) -> Path:
        """Where a fetched file goes: where one that must be replaced lies, else into the first writable directory.

        Raises:
            ModelFetchFailed: another's file of the wrong size lies there, or nothing can be written.
        """
        local = self.look(entry)
        if local.status == "wrong size" and local.record is None:
            found = f"{local.path} has {local.size_bytes:,} bytes and was not fetched by comfypod"
            raise ModelFetchFailed(entry.name, f"{found}; remove it, or correct size_bytes")
        if not _writable(local.path.parent):
            raise ModelFetchFailed(entry.name, f"{local.path.parent} cannot be written to")
        return local.path

    def _directories(self, entry: ModelEntry) -> Sequence[Path]:
        directories = self._folders.get(entry.folder, ())
        if not directories:
            known = ", ".join(sorted(self._folders))
            raise ConfigurationError([f"The folder {entry.folder!r} of {entry.name} is none of ComfyUI's: {known}."])
        return directories

    @staticmethod
    def _destination(directories: Iterable[Path]) -> Path:
        candidates = list(directories)
        return next((directory for directory in candidates if _writable(directory)), candidates[0])


def _found(entry: ModelEntry, path: Path) -> LocalModel:
    size_bytes = path.stat().st_size
    record = read_record(path)
    expected = entry.size_bytes or (record.size_bytes if record else None)
    status: Status = "present"
    if record is not None and entry.sha256 not in (None, record.sha256):
        status = "outdated"
    elif size_bytes == 0 or (expected is not None and size_bytes != expected):
        status = "wrong size"
    return LocalModel(entry, status, path, size_bytes, record)


def _writable(directory: Path) -> bool:
    """Whether files can be made in it, or it can be made."""
    existing = next((folder for folder in (directory, *directory.parents) if folder.exists()), None)
    return existing is not None and existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def staged_path(path: Path) -> Path:
    """Where a file is until it has been checked; hidden, with a suffix that ComfyUI's loaders do not list."""
    return path.with_name(f".{path.name}.new")


def hub_folder(path: Path) -> Path:
    """Where huggingface_hub works until the file is complete."""
    return path.with_name(f".{path.name}.hub")


def partial_paths(path: Path) -> tuple[Path, ...]:
    """What a download that was broken off leaves."""
    staged = staged_path(path)
    return staged, staged.with_name(f".{staged.name}.partial")


def lock_path(path: Path) -> Path:
    """The lock of whoever brings the file."""
    return path.with_name(f".{path.name}.lock")


def use_path(path: Path) -> Path:
    """An empty file: its time is when the model was last used, and who uses it holds a shared lock on it."""
    return path.with_name(f".{path.name}.used")


def _record_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.json")


def read_record(path: Path) -> FetchRecord | None:
    """What was noted when the file was fetched; None if it was not fetched here."""
    try:
        document = json.loads(_record_path(path).read_bytes())
        return FetchRecord(str(document["sha256"]), int(document["size_bytes"]), str(document["source"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_record(path: Path, record: FetchRecord) -> None:
    """Note it beside the file, at once for every reader."""
    new = _record_path(path).with_name(f".{path.name}.json.{uuid.uuid4().hex}")
    try:
        new.write_text(json.dumps(asdict(record)) + "\n", encoding="utf-8")
        new.replace(_record_path(path))
    finally:
        new.unlink(missing_ok=True)


def mark_used(path: Path) -> None:
    """Note that the model is used now; where nothing can be written, nothing is evicted either."""
    with contextlib.suppress(OSError):
        use_path(path).touch()


def last_used(path: Path) -> float:
    """When it was last used, in seconds since 1970."""
    for marker in (use_path(path), path):
        with contextlib.suppress(OSError):
            return marker.stat().st_mtime
    return 0.0


def remove_model(path: Path) -> None:
    """Remove a file that was fetched here, and what is noted of it."""
    path.unlink(missing_ok=True)
    _record_path(path).unlink(missing_ok=True)


def discard_folder(folder: Path) -> None:
    """Remove a folder and all that is in it, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
