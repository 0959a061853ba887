"""The worker's ways outside, shared by the jobs that run at a time: safe downloads, its bucket, its model files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from comfypod.settings import Settings
from comfypod.storage.addresses import AddressPolicy
from comfypod.storage.buckets.bucket import Bucket
from comfypod.storage.buckets.request_bucket import RequestBucket
from comfypod.storage.download import Downloader
from comfypod.storage.models.files import ModelFolders
from comfypod.storage.models.manifest import ModelManifest
from comfypod.storage.models.store import ModelStore
from comfypod.storage.safe_http import SafeHTTP
from comfypod.worker.kept import Kept
from comfypod.worker.surroundings import Surroundings


@dataclass(slots=True)
class Network:
    """What jobs share: connections, kept open from one to the next, and turns at converting pictures."""

    http: SafeHTTP
    downloader: Downloader
    conversions: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    jobs: int = 0
    stores: dict[str, ModelStore] = field(default_factory=dict)


class Outside:
    """Everything that a worker reaches besides ComfyUI, made from its settings.

    Raises:
        ConfigurationError: a setting of it is not valid.
    """

    def __init__(self, settings: Settings, manifest: ModelManifest, environment: Mapping[str, str]) -> None:
        self.bucket = Bucket.from_settings(settings)
        self.manifest = manifest
        self._settings = settings
        self._environment = environment
        self._policy = AddressPolicy.from_lists(settings.download_allowed_hosts, settings.download_denied_hosts)
        self._network = Kept(self._open)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Network]:
        """The connections, for a job; they stay open for the next one."""
        network = await self._network.get()
        network.jobs += 1
        try:
            yield network
        finally:
            network.jobs -= 1
            if network.jobs == 0:
                network.stores.clear()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Network]:
        async with SafeHTTP(self._policy) as http:
            yield Network(http, Downloader(http))

    def bucket_of(self, s3_config: object, network: Network) -> RequestBucket:
        """The bucket that a request brings along in ``s3Config``.

        Raises:
            InvalidJobInput: it is not one.
        """
        return RequestBucket.parse(s3_config, network.http, self._settings.bucket_url_lifetime_seconds)

    def models(self, network: Network, surroundings: Surroundings, *, is_own: bool) -> ModelStore | None:
        """The model files of this ComfyUI; None where nothing can be put into its folders.

        Into those of a ComfyUI that is not the worker's own nothing is put, unless MODELS_DIRECTORY says so.
        """
        known = surroundings.local.models if surroundings.local else {}
        if not (is_own or self._settings.models_directory) or not self._model_folders(known):
            return None
        if surroundings.url not in network.stores:
            network.stores[surroundings.url] = self.models_in(known, network)
        return network.stores[surroundings.url]

    def models_in(self, folders: Mapping[str, Sequence[Path]], network: Network) -> ModelStore:
        """The model files in these folders of each kind, which a ComfyUI uses, or will."""
        return ModelStore(
            self.manifest,
            ModelFolders(self._model_folders(folders)),
            network.http,
            self._environment,
            budget_bytes=self._settings.models_disk_budget_bytes,
            # It makes connections of its own, which the policy does not see.
            hub_fast_path=not (self._settings.download_allowed_hosts or self._settings.download_denied_hosts),
        )

    def _model_folders(self, known: Mapping[str, Sequence[Path]]) -> dict[str, list[Path]]:
        """The folders of each kind: MODELS_DIRECTORY first, where one is set."""
        kinds = {entry.folder for entry in self.manifest.entries}
        own = self._settings.models_directory
        folders = {kind: [*([Path(own) / kind] if own else []), *known.get(kind, ())] for kind in kinds}
        return {kind: paths for kind, paths in folders.items() if paths}
