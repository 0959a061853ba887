"""How large model files are: as ``models.toml`` says, as their source says, or as it is assumed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from comfypod.batch.documents import Asset
from comfypod.batch.manifest.forms import canonical
from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError, ModelFetchFailed
from comfypod.settings import Settings
from comfypod.storage.addresses import AddressPolicy
from comfypod.storage.models.manifest import ModelEntry
from comfypod.storage.models.sources import ModelSources
from comfypod.storage.safe_http import SafeHTTP

LOOK_UP_SECONDS: Final = 60.0
AT_ONCE: Final = 4
"""The Hub is asked in a process of its own for each file."""
REMEMBERED_SECONDS: Final = 24 * 3600.0
_MOST_REMEMBERED: Final = 10_000


class Size(NamedTuple):
    """What a source says of a file."""

    size_bytes: int
    sha256: str | None


def known_assets(
    keys: Iterable[str], entries: Mapping[str, ModelEntry], assume_size_bytes: int | None
) -> tuple[dict[str, Asset], list[ModelEntry]]:
    """The assets whose sizes are known without asking, and the entries whose sources would have to be asked."""
    assets, unknown = {}, []
    for key in keys:
        entry = entries.get(key)
        size_bytes = entry.size_bytes if entry is not None else assume_size_bytes or 0
        if entry is not None and size_bytes is None:
            unknown.append(entry)
        else:
            assets[key] = asset_of(key, entry, size_bytes or 0)
    return assets, unknown


def asset_of(key: str, entry: ModelEntry | None, size_bytes: int, sha256: str | None = None) -> Asset:
    """A model file, with what its source says where its entry does not."""
    if entry is None:
        return Asset(key=key, size_bytes=size_bytes)
    table = entry.model_dump(exclude_defaults=True) | {"when": entry.when}
    return Asset(key=key, size_bytes=size_bytes, sha256=entry.sha256 or sha256, entry=table)


def look_up_sizes(
    entries: Iterable[ModelEntry], environment: Mapping[str, str], cache: Path | None
) -> dict[str, Size | str]:
    """Ask the sources for sizes, several at once; by key, a sentence in place of each that cannot be known.

    Blocks, for `LOOK_UP_SECONDS` at most; do not call it where an event loop runs.
    """
    remembered = SizesCache(cache)
    found: dict[str, Size | str] = {}
    unknown = []
    for entry in entries:
        known = remembered.get(entry)
        if known is None:
            unknown.append(entry)
        else:
            found[entry.key] = known
    if unknown:
        for entry, size in zip(unknown, asyncio.run(_look_up_all(unknown, environment)), strict=True):
            found[entry.key] = size
            if isinstance(size, Size):
                remembered.put(entry, size)
        remembered.save()
    return found


async def _look_up_all(entries: list[ModelEntry], environment: Mapping[str, str]) -> list[Size | str]:
    settings = Settings.from_environment(environment)
    policy = AddressPolicy.from_lists(settings.download_allowed_hosts, settings.download_denied_hosts)
    turns, deadline = asyncio.Semaphore(AT_ONCE), Deadline.after(LOOK_UP_SECONDS)

    async def in_turn(look_up: Awaitable[Size]) -> Size | str:
        async with turns:
            try:
                return await look_up
            except ComfyPodError as error:
                return str(error)

    async with SafeHTTP(policy) as http:
        sources = ModelSources(http, environment)
        return list(await asyncio.gather(*(in_turn(_look_up(entry, sources, deadline)) for entry in entries)))


async def _look_up(entry: ModelEntry, sources: ModelSources, deadline: Deadline) -> Size:
    if entry.url is not None:
        size_bytes, sha256 = await sources.size_of_url(entry, deadline), None
    else:
        source = await sources.resolve(entry, deadline)
        size_bytes, sha256 = source.size_bytes, source.sha256
    if not size_bytes:
        raise ModelFetchFailed(entry.name, "its source does not tell its size; put size_bytes into models.toml")
    return Size(size_bytes, sha256)


class SizesCache:
    """What sources said lately, in a file; a file that cannot be used is as good as none."""

    def __init__(self, path: Path | None, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        self._sizes: dict[str, Any] = {}
        if path is not None:
            with suppress(OSError, ValueError, RecursionError):
                document = json.loads(path.read_bytes())
                self._sizes = document if isinstance(document, dict) else {}

    def get(self, entry: ModelEntry) -> Size | None:
        """What is remembered of an entry's source, unless it is too long ago."""
        match self._sizes.get(_cache_key(entry)):
            case {
                "size_bytes": int(size_bytes),
                "sha256": str() | None as sha256,
                "asked_at": int() | float() as asked_at,
            }:
                return Size(size_bytes, sha256) if 0 <= self._now() - asked_at < REMEMBERED_SECONDS else None
        return None

    def put(self, entry: ModelEntry, size: Size) -> None:
        """Remember it."""
        self._sizes[_cache_key(entry)] = {**size._asdict(), "asked_at": self._now()}

    def save(self) -> None:
        """Write the file, whole; the newest are kept."""
        if self._path is None:
            return
        newest = dict(list(self._sizes.items())[-_MOST_REMEMBERED:])
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(newest), encoding="utf-8")
            partial.replace(self._path)


def _cache_key(entry: ModelEntry) -> str:
    """Of the source alone: an address may hold a credential, so it is not written itself."""
    source = [entry.repository, entry.file or entry.name, entry.revision, entry.civitai, entry.url]
    return hashlib.sha256(canonical(source)).hexdigest()
