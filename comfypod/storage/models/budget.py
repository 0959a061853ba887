"""Room for model files: free space, a budget, and what goes when it is exceeded."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Lock

from comfypod.errors import ModelFetchFailed
from comfypod.logs import event
from comfypod.storage.models.files import (
    LocalModel,
    ModelFolders,
    last_used,
    mark_used,
    partial_paths,
    remove_model,
    use_path,
)
from comfypod.storage.models.manifest import ModelEntry, ModelManifest
from comfypod.storage.models.progress import format_bytes

MARKER_TRIES = 100
MARKER_PAUSE_SECONDS = 0.05

_NO_LOCKS = frozenset({errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL})


class DiskBudget:
    """Makes room, and knows what is in use.

    Only files that were fetched here, belong to the manifest, are not pinned and not in use are evicted: the least
    recently used first. Use is a shared ``flock`` on a marker beside the model, so that other workers on the same
    volume see it too. Two workers that download at the same moment do not count each other's download: the budget may
    be exceeded by one file then, until the next one is fetched. Without ``limit_bytes`` nothing is evicted.
    """

    def __init__(self, manifest: ModelManifest, folders: ModelFolders, limit_bytes: int | None) -> None:
        self._manifest = manifest
        self._folders = folders
        self._limit_bytes = limit_bytes
        self._in_use: Counter[str] = Counter()
        self._reserved: dict[str, int] = {}
        self._claiming = Lock()

    @asynccontextmanager
    async def using(self, entries: Iterable[ModelEntry]) -> AsyncIterator[None]:
        """Keep these from being evicted meanwhile."""
        used = list(entries)
        self._in_use.update(entry.key for entry in used)
        try:
            with contextlib.ExitStack() as markers:
                for entry in used:
                    path = self._folders.look(entry).path
                    await _hold_marker(path, markers)
                    markers.callback(mark_used, path)
                yield
        finally:
            self._in_use.subtract(entry.key for entry in used)

    @asynccontextmanager
    async def reserve(self, entry: ModelEntry, target: Path, size_bytes: int) -> AsyncIterator[None]:
        """Make room for a download and keep it until the file lies there.

        Raises:
            ModelFetchFailed: there is not enough, also after everything that may go has gone.
        """
        claim = asyncio.ensure_future(asyncio.to_thread(self._claim, entry, target, size_bytes))
        try:
            await asyncio.shield(claim)
            yield
        finally:
            # After a cancellation the thread still runs, and its claim is yet to come.
            if claim.done():
                self._reserved.pop(entry.key, None)
            else:
                claim.add_done_callback(lambda _: self._reserved.pop(entry.key, None))

    def _claim(self, entry: ModelEntry, target: Path, size_bytes: int) -> None:
        with self._claiming:
            self._make_room(entry, target, size_bytes)
            self._reserved[entry.key] = size_bytes

    def _make_room(self, entry: ModelEntry, target: Path, size_bytes: int) -> None:
        others = [model for model in map(self._folders.look, self._manifest.entries) if model.entry.key != entry.key]
        fetched = [model for model in others if model.record is not None and model.size_bytes is not None]
        taken = sum(model.size_bytes or 0 for model in fetched) + sum(self._reserved.values())
        candidates = sorted(filter(self._may_go, fetched), key=lambda model: last_used(model.path))
        missing = self._missing_bytes(target, size_bytes, taken)
        if missing > sum(model.size_bytes or 0 for model in candidates):
            raise ModelFetchFailed(entry.name, self._no_room(target, size_bytes, taken))  # before any is gone in vain
        while missing > 0 and candidates:
            taken -= _evict(candidates.pop(0))
            missing = self._missing_bytes(target, size_bytes, taken)
        if missing > 0:
            raise ModelFetchFailed(entry.name, self._no_room(target, size_bytes, taken))

    def _may_go(self, model: LocalModel) -> bool:
        return self._limit_bytes is not None and not model.entry.pinned and self._in_use[model.entry.key] <= 0

    def _missing_bytes(self, target: Path, size_bytes: int, taken: int) -> int:
        over_budget = 0 if self._limit_bytes is None else taken + size_bytes - self._limit_bytes
        return max(over_budget, self._needed_on_disk(target, size_bytes) - _free_bytes(target))

    def _needed_on_disk(self, target: Path, size_bytes: int) -> int:
        begun = sum(map(_allocated_bytes, partial_paths(target)))
        return max(0, size_bytes - begun)

    def _no_room(self, target: Path, size_bytes: int, taken: int) -> str:
        if self._limit_bytes is not None and taken + size_bytes > self._limit_bytes:
            return (
                f"it needs {format_bytes(size_bytes)}, and of the {format_bytes(self._limit_bytes)} of "
                f"MODELS_DISK_BUDGET_BYTES {format_bytes(taken)} are taken by models that are pinned or in use"
            )
        needed, free = self._needed_on_disk(target, size_bytes), _free_bytes(target)
        return f"it needs {format_bytes(needed)}, and {format_bytes(free)} are free in {target.parent}"


def _evict(model: LocalModel) -> int:
    """Remove a file unless another worker uses it; returns the bytes that this freed."""
    try:
        with _marker(model.path) as descriptor:
            if not _try_flock(descriptor, fcntl.LOCK_EX):
                return 0
            remove_model(model.path)
    except OSError as error:
        event("model_not_evicted", logging.WARNING, model=model.entry.key, cause=str(error))
        return 0
    event("model_evicted", model=model.entry.key, size_bytes=model.size_bytes)
    return model.size_bytes or 0


async def _hold_marker(path: Path, held: contextlib.ExitStack) -> None:
    """Show other workers that the model is used; who evicts it holds the marker for a moment, and is waited for."""
    try:
        descriptor = held.enter_context(_marker(path))
    except OSError:
        return  # a folder that cannot be written to: nothing is evicted there
    for _ in range(MARKER_TRIES):
        if _try_flock(descriptor, fcntl.LOCK_SH):
            return
        await asyncio.sleep(MARKER_PAUSE_SECONDS)


@contextmanager
def _marker(path: Path) -> Iterator[int]:
    marker = use_path(path)
    marker.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(marker, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _try_flock(descriptor: int, kind: int) -> bool:
    """Whether the lock was granted; True also where the volume knows no locks, and only this process can be asked."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _free_bytes(path: Path) -> int:
    existing = next(folder for folder in path.parents if folder.exists())
    return shutil.disk_usage(existing).free


def _allocated_bytes(path: Path) -> int:
    """What a file takes on the disk; less than its size where parts are missing yet."""
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0
