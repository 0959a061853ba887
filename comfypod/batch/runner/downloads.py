"""The models of a batch, fetched in the order of its plan, one file after the other, each over several connections."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from comfypod.batch.documents import Asset
from comfypod.batch.runner.bell import Bell
from comfypod.batch.runner.gate import LinkMeter
from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError, DeadlineExceeded, ModelFetchFailed
from comfypod.logs import event
from comfypod.retry import backoff_seconds
from comfypod.settings import Settings
from comfypod.storage.models.manifest import ModelEntry, ModelManifest
from comfypod.storage.models.progress import ModelProgress
from comfypod.storage.models.store import ModelStore
from comfypod.worker.outside import Outside

LONGEST_PAUSE_SECONDS: Final = 60.0
METER_SECONDS: Final = 0.5
IDLE_SECONDS: Final = 60.0


class Downloads:
    """Brings ``assets`` in their order, and others that are added later. What comes with the image counts as present.

    The next file begins when all bytes of the one before have come, so that the link is never idle while that one is
    checked. A source that is away is asked again for as long as it takes.

    Attributes:
        present: keys of those that are complete.
        failed: those that can finally not be had, and why.
        received: bytes so far of those under way.
        downloaded_bytes: all that has come, over the network, since the start.
    """

    def __init__(
        self,
        assets: Sequence[Asset],
        settings: Settings,
        folders: Mapping[str, Sequence[Path]],
        environment: Mapping[str, str],
        bell: Bell,
    ) -> None:
        """``folders`` are those that ComfyUI knows besides MODELS_DIRECTORY; ``environment`` has sources' tokens."""
        self.present: set[str] = set()
        self.failed: dict[str, ComfyPodError] = {}
        self.received: dict[str, int] = {}
        self.downloaded_bytes = 0
        self.meter: LinkMeter | None = None
        self._bell = bell
        self._added = Bell()
        self._begun: set[str] = set()
        self._entries: dict[str, ModelEntry] = {}
        self._outside = Outside(settings, ModelManifest(), environment)
        self._folders = folders
        self._paths: dict[str, Path] = {}
        self.add(assets)

    def add(self, assets: Iterable[Asset]) -> None:
        """Fetch these, too, after what is wanted already; one that is known changes nothing."""
        for asset in assets:
            if asset.key not in self._entries and asset.key not in self.usable:
                self._take(asset)
        self._outside.manifest = ModelManifest(list(self._entries.values()))
        self._added.ring()

    def _take(self, asset: Asset) -> None:
        if asset.comes_with_image or asset.entry is None:
            self.present.add(asset.key)
            return
        try:
            entry = ModelEntry.model_validate(dict(asset.entry))
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]["msg"]
            self._fail(asset.key, ModelFetchFailed(asset.key, f"its entry is not valid ({problem})"))
            return
        if entry.key != asset.key:
            self._fail(asset.key, ModelFetchFailed(asset.key, f"its entry is that of {entry.key}"))
            return
        known = {"sha256": entry.sha256 or asset.sha256, "size_bytes": entry.size_bytes or asset.size_bytes or None}
        self._entries[asset.key] = entry.model_copy(update=known)

    @property
    def usable(self) -> frozenset[str]:
        """Keys of what need not be waited for: present, or never to be had."""
        return frozenset(self.present) | frozenset(self.failed)

    @property
    def is_done(self) -> bool:
        """Whether nothing is to be fetched (any more)."""
        return not self._unfetched()

    def path(self, key: str) -> Path | None:
        """Where the file of an asset lies, if it was fetched or found."""
        return self._paths.get(key)

    async def missing(self) -> list[str]:
        """Keys of what is not on this machine yet; what is counts as present from now on."""
        async with self._outside.open() as network:
            found = await asyncio.to_thread(self._outside.models_in(self._folders, network).state)
        for model in found:
            if model.status == "present":
                self._arrive(model.entry.key, model.path)
            elif model.status == "partial":
                self._begun.add(model.entry.key)
        return self._unfetched()

    def _unfetched(self) -> list[str]:
        return [key for key in self._entries if key not in self.usable]

    async def run(self, ends_at: float) -> None:
        """Fetch all, and what is added, until cancelled. ``ends_at``: seconds since 1970.

        Raises:
            PodUnfit: the link has much less than the ``meter`` was promised.
        """
        deadline = Deadline.after(ends_at - time.time())
        try:
            async with self._outside.open() as network, asyncio.TaskGroup() as group:
                group.create_task(self._watch_link())
                asked: set[str] = set()
                while True:
                    if (key := next((key for key in self._unfetched() if key not in asked), None)) is None:
                        await self._added.wait(IDLE_SECONDS)
                        continue
                    asked.add(key)
                    has_come = asyncio.Event()
                    store = self._outside.models_in(self._folders, network)
                    group.create_task(self._fetch(store, key, deadline, has_come))
                    await has_come.wait()
        except ExceptionGroup as failures:
            failure = failures.exceptions[0]
            raise failure from failure.__cause__

    async def _fetch(self, store: ModelStore, key: str, deadline: Deadline, has_come: asyncio.Event) -> None:
        """Fetch one, however often it takes; ``has_come`` is set when the link is free for the next one."""
        pauses = backoff_seconds(longest=LONGEST_PAUSE_SECONDS)
        counted: list[int] = [] if key in self._begun else [0]

        def on_progress(progress: ModelProgress) -> None:
            self._count(key, progress, counted)
            if progress.stage == "checking" or progress.received_bytes == progress.total_bytes:
                has_come.set()

        try:
            while key not in self.present and key not in self.failed:
                try:
                    self._arrive(key, await store.fetch(key, deadline, on_progress))
                except DeadlineExceeded:
                    return  # the pod ends
                except ComfyPodError as error:
                    if not error.retryable:
                        self._fail(key, error)
                        continue
                    event("asset_waits", logging.WARNING, asset=key, cause=error)
                    await asyncio.sleep(next(pauses))
        finally:
            has_come.set()

    def _count(self, key: str, progress: ModelProgress, counted: list[int]) -> None:
        """Count what came; of a file that was begun before, from the first report on."""
        if progress.stage != "downloading":
            return
        if counted:
            came = max(0, progress.received_bytes - counted[0])
            self.downloaded_bytes += came
            if self.meter is not None and came:
                self.meter.receive(came, time.monotonic())
        counted[:] = [progress.received_bytes]
        self.received[key] = progress.received_bytes

    async def _watch_link(self) -> None:
        while self.meter is not None and not self.meter.is_judged:
            await asyncio.sleep(METER_SECONDS)
            speed = self.meter.check(time.monotonic())
            if speed is not None:
                event("link", bytes_per_second=round(speed))

    def _arrive(self, key: str, path: Path) -> None:
        self._paths[key] = path
        self.present.add(key)
        with suppress(KeyError):
            del self.received[key]
        event("asset_present", asset=key)
        self._bell.ring()

    def _fail(self, key: str, error: ComfyPodError) -> None:
        event("asset_failed", logging.ERROR, asset=key, cause=error)
        self.failed[key] = error
        self._bell.ring()
