"""Model files: there when a job needs them, whoever else wants them at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError, ModelFetchFailed
from comfypod.storage.download import Downloader
from comfypod.storage.models.budget import DiskBudget
from comfypod.storage.models.checks import sha256_of
from comfypod.storage.models.fetch import FetchMeans, ModelFetch, disk_cause
from comfypod.storage.models.files import LocalModel, ModelFolders, mark_used
from comfypod.storage.models.lock import LeaseTimes
from comfypod.storage.models.manifest import ModelEntry, ModelManifest, When
from comfypod.storage.models.progress import OnModelProgress, Report
from comfypod.storage.models.shared import SharedFetch
from comfypod.storage.models.sources import ModelSources
from comfypod.storage.safe_http import SafeHTTP

FETCHES_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Verification:
    """What a file's content turned out to be; ``problem`` is a clause, None if all is well.

    ``expected_sha256`` is None where nobody ever said what it should be.
    """

    entry: ModelEntry
    path: Path
    sha256: str | None
    expected_sha256: str | None
    problem: str | None


class ModelStore:
    """The model files of a manifest, in ComfyUI's folders.

    For a job: enter `using` with the names that it needs, then `fetch` each of them, then run it. What is in use is
    not evicted. A store serves one event loop at a time.

    Args:
        budget_bytes: most that fetched files may take; the least recently used go. None: nothing is ever evicted.
        environment: where tokens are read from, by the names that the manifest gives.
        hub_fast_path: let huggingface_hub download what is stored in Xet. It makes its own connections, which the
            address policy of ``http`` does not see: leave it out where the operator restricts them.
    """

    def __init__(
        self,
        manifest: ModelManifest,
        folders: ModelFolders,
        http: SafeHTTP,
        environment: Mapping[str, str],
        *,
        budget_bytes: int | None = None,
        hub_fast_path: bool = True,
        lease_times: LeaseTimes | None = None,
    ) -> None:
        self.manifest = manifest
        self._folders = folders
        self._budget = DiskBudget(manifest, folders, budget_bytes)
        self._means = FetchMeans(
            folders=folders,
            sources=ModelSources(http, environment),
            downloader=Downloader(http),
            budget=self._budget,
            hub_fast_path=hub_fast_path,
            lease_times=lease_times or LeaseTimes(),
        )
        self._fetches: dict[str, SharedFetch] = {}

    def using(self, names: Iterable[str]) -> AbstractAsyncContextManager[None]:
        """Keep these models from being evicted, by any worker on this volume, until the block ends.

        Raises:
            ConfigurationError: a name is not in the manifest.
        """
        return self._budget.using([self.manifest.entry(name) for name in names])

    def state(self) -> list[LocalModel]:
        """How every entry of the manifest stands on this machine; looks at names and sizes only."""
        return [self._folders.look(entry) for entry in self.manifest.entries]

    async def fetch(self, name: str, deadline: Deadline, on_progress: OnModelProgress | None = None) -> Path:
        """The file of a model (its name, or ``folder/name``), which is downloaded first if it is not there.

        Callers that want the same file at the same time share one download; one that is cancelled leaves it to the
        others, the last one ends it. What it had so far is kept, and the next call goes on from there.

        Raises:
            ModelFetchFailed: it cannot be had, and what to do about it.
            ModelSourceUnavailable: its source does not answer now.
            ConfigurationError: the name is not in the manifest, or its token is not set.
            DeadlineExceeded: the deadline passed.
        """
        entry = self.manifest.entry(name)
        local = await self._look(entry)
        if local.status == "present":
            await asyncio.to_thread(mark_used, local.path)
            return local.path
        shared = self._fetches.get(entry.key)
        if shared is None or shared.is_over:
            fetch = ModelFetch(self._means, entry)
            shared = self._fetches[entry.key] = SharedFetch(entry.key, fetch.run)
        try:
            return await shared.join(deadline, on_progress)
        finally:
            if shared.is_over and self._fetches.get(entry.key) is shared:
                del self._fetches[entry.key]

    async def fetch_all(
        self, names: Iterable[str], deadline: Deadline, on_progress: OnModelProgress | None = None
    ) -> dict[str, ComfyPodError]:
        """Fetch several, two at a time; returns the failures by name, so that one does not keep the others back."""
        failures: dict[str, ComfyPodError] = {}
        turns = asyncio.Semaphore(FETCHES_AT_ONCE)

        async def one(name: str) -> None:
            async with turns:
                try:
                    await self.fetch(name, deadline, on_progress)
                except ComfyPodError as error:
                    failures[name] = error

        async with asyncio.TaskGroup() as group:
            for name in dict.fromkeys(names):
                group.create_task(one(name))
        return failures

    async def fetch_due(
        self, when: When, deadline: Deadline, on_progress: OnModelProgress | None = None
    ) -> dict[str, ComfyPodError]:
        """`fetch_all` of the entries that are to be there at ``build`` or ``boot``."""
        return await self.fetch_all((entry.key for entry in self.manifest.due(when)), deadline, on_progress)

    async def verify(self, name: str, on_progress: OnModelProgress | None = None) -> Verification:
        """Hash a file that is there, and compare it with the manifest, else with what was noted when it was fetched."""
        entry = self.manifest.entry(name)
        local = await self._look(entry)
        expected = entry.sha256 or (local.record.sha256 if local.record else None)
        if local.size_bytes is None:
            return Verification(entry, local.path, None, expected, f"it is {local.status}")
        report = Report(entry.key, on_progress or (lambda _: None))
        digest = await sha256_of(local.path, lambda done: report("checking", done, local.size_bytes))
        problem = None
        if expected not in {None, digest}:
            problem = f"its sha256 is {digest} instead of {expected}"
        elif local.status == "wrong size":
            problem = f"it has {local.size_bytes:,} bytes, which is not its size"
        return Verification(entry, local.path, digest, expected, problem)

    async def _look(self, entry: ModelEntry) -> LocalModel:
        try:
            return await asyncio.to_thread(self._folders.look, entry)
        except OSError as error:
            raise ModelFetchFailed(entry.name, disk_cause(error)) from error
