"""One model file on its way: locked, looked up, downloaded, checked, put in place."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from comfypod.deadline import Deadline
from comfypod.errors import DownloadFailed, ModelFetchFailed, ModelSourceUnavailable
from comfypod.logs import event
from comfypod.storage.download import SMALLEST_PART_BYTES, Downloader
from comfypod.storage.models.budget import DiskBudget
from comfypod.storage.models.checks import check_content, refuse_pickle_name, sha256_of
from comfypod.storage.models.files import (
    FetchRecord,
    ModelFolders,
    discard_folder,
    hub_folder,
    lock_path,
    mark_used,
    partial_paths,
    staged_path,
    write_record,
)
from comfypod.storage.models.hub import FastPathFailed
from comfypod.storage.models.lock import Lease, LeaseLost, LeaseTimes, run_alone
from comfypod.storage.models.manifest import ModelEntry
from comfypod.storage.models.progress import Report
from comfypod.storage.models.sources import ModelSources, ResolvedSource, model_error

CONNECTIONS = 8
LONGEST_FETCH_SECONDS = 24 * 3600.0
"""A fetch ends with the last who waits for it, and each of them has a deadline; this is only the outermost one."""


@dataclass(frozen=True, slots=True)
class FetchMeans:
    """What every fetch of a store works with."""

    folders: ModelFolders
    sources: ModelSources
    downloader: Downloader
    budget: DiskBudget
    hub_fast_path: bool
    lease_times: LeaseTimes


class ModelFetch:
    """Brings the file of one entry. What a broken-off one leaves is hidden, and the next one goes on from it."""

    def __init__(self, means: FetchMeans, entry: ModelEntry) -> None:
        self._means = means
        self._entry = entry
        self._deadline = Deadline.after(LONGEST_FETCH_SECONDS)

    async def run(self, report: Report) -> Path:
        """Bring the file, unless another worker has done so by the time that the lock is free.

        Raises:
            ModelFetchFailed: it cannot be had, or written here.
            ModelSourceUnavailable: its source does not answer now.
            ConfigurationError: its token is not set.
        """
        entry, means = self._entry, self._means
        refuse_pickle_name(entry)
        try:
            target = await asyncio.to_thread(means.folders.target, entry)
            return await run_alone(
                lock_path(target),
                lambda lease: self._bring(target, lease, report),
                self._deadline,
                lambda: report("waiting", 0, entry.size_bytes),
                means.lease_times,
            )
        except LeaseLost as error:
            raise ModelSourceUnavailable(entry.name, str(error)) from error
        except OSError as error:
            raise ModelFetchFailed(entry.name, disk_cause(error)) from error

    async def _bring(self, target: Path, lease: Lease, report: Report) -> Path:
        local = await asyncio.to_thread(self._means.folders.look, self._entry)
        path = local.path
        if local.status != "present":
            source, path = await self._means.sources.resolve(self._entry, self._deadline), target
            async with self._room(target, source.size_bytes):
                sha256 = await self._transfer(source, target, report)
                await self._publish(source, target, sha256, lease)
        await asyncio.to_thread(mark_used, path)
        return path

    def _room(self, target: Path, size_bytes: int | None) -> AbstractAsyncContextManager[None]:
        if size_bytes is None:
            return nullcontext()  # it is asked for when the size is known
        return self._means.budget.reserve(self._entry, target, size_bytes)

    async def _transfer(self, source: ResolvedSource, target: Path, report: Report) -> str:
        """Download to the staged path, and return the SHA-256, which is the expected one if one is known."""
        staged = staged_path(target)
        await asyncio.to_thread(discard_folder, hub_folder(target))  # a killed worker leaves it
        if staged.exists() and source.sha256 is None:
            staged.unlink()  # nothing tells whether it is what the source has now
        if not staged.exists() and not await self._by_fast_path(source, target, report):
            return await self._by_http(source, staged, report)
        digest = await sha256_of(staged, lambda done: report("checking", done, source.size_bytes))
        if source.sha256 not in {None, digest}:
            staged.unlink()
            raise ModelFetchFailed(self._entry.name, f"its sha256 is {digest} instead of {source.sha256}")
        return digest

    async def _by_fast_path(self, source: ResolvedSource, target: Path, report: Report) -> bool:
        """Whether huggingface_hub brought it; plain HTTP is there where that fails, and goes on with what it began."""
        file, hub = source.hub_file, self._means.sources.hub
        begun = any(path.exists() for path in partial_paths(target))
        if file is None or begun or not self._means.hub_fast_path or not hub.has_fast_path(file):
            return False

        def on_bytes(received_bytes: int) -> None:
            report("downloading", received_bytes, source.size_bytes)

        try:
            token = self._means.sources.token(self._entry)
            await hub.download(file, token, staged_path(target), hub_folder(target), on_bytes)
        except FastPathFailed as error:
            event("model_fast_path_failed", logging.WARNING, model=self._entry.key, cause=str(error))
            return False
        return True

    async def _by_http(self, source: ResolvedSource, staged: Path, report: Report) -> str:
        # With several connections the size is asked for first: for a file that is known to be small, a waste.
        is_small = source.size_bytes is not None and source.size_bytes < 2 * SMALLEST_PART_BYTES
        try:
            downloaded = await self._means.downloader.fetch(
                source.url,
                staged,
                self._deadline,
                headers=source.headers,
                sha256=source.sha256,
                size_bytes=source.size_bytes,
                connections=1 if is_small else CONNECTIONS,
                on_bytes=lambda received, total: report("downloading", received, total),
                keep_partial=True,
            )
        except DownloadFailed as error:
            raise model_error(self._entry, error, has_token=bool(source.headers)) from error
        return downloaded.sha256

    async def _publish(self, source: ResolvedSource, target: Path, sha256: str, lease: Lease) -> None:
        """Check what was downloaded, and put it where ComfyUI sees it, with a note beside it."""
        entry, staged = self._entry, staged_path(target)
        try:
            await asyncio.to_thread(check_content, staged, entry)
            record = FetchRecord(sha256, staged.stat().st_size, entry.source)
            has_room = source.size_bytes is not None
            async with nullcontext() if has_room else self._means.budget.reserve(entry, target, record.size_bytes):
                await asyncio.to_thread(_put_in_place, staged, target, record, lease)
        except ModelFetchFailed:
            staged.unlink(missing_ok=True)
            raise
        event("model_fetched", model=entry.key, size_bytes=record.size_bytes)


def _put_in_place(staged: Path, target: Path, record: FetchRecord, lease: Lease) -> None:
    lease.confirm()
    write_record(target, record)  # first: a file without its note would count as somebody else's
    staged.replace(target)


def disk_cause(error: OSError) -> str:
    """What the disk said, and of which file, as a clause."""
    return f"{error.strerror or error} ({error.filename})" if error.filename else str(error.strerror or error)
