"""What a worker has learned of the ComfyUI it uses: what that can run, where its folders are, which version it is."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field, replace

import comfypod
from comfypod.comfyui.catalogue import Catalogue
from comfypod.comfyui.folders import LocalFolders, find_local_folders
from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.logs import event
from comfypod.schema.output import WorkerInfo


@dataclass(frozen=True, slots=True)
class Surroundings:
    """One ComfyUI as it was when it was asked; ``local`` is None if this machine does not see its folders."""

    url: str
    catalogue: Catalogue
    local: LocalFolders | None
    worker: WorkerInfo
    asked_at: float = field(default_factory=time.monotonic)

    @property
    def age_seconds(self) -> float:
        """How long ago it was asked what it can run."""
        return time.monotonic() - self.asked_at


class KnownSurroundings:
    """Asks a ComfyUI once, and again where what was learned may be out of date."""

    def __init__(self) -> None:
        self._known: Surroundings | None = None
        self._asking = asyncio.Lock()

    async def of(self, http: ComfyUIHTTP) -> Surroundings:
        """What is known of this ComfyUI; asked now if it is another one than before.

        Raises:
            ComfyUIUnavailable: it does not answer.
        """
        async with self._asking:  # once, also when several jobs come at a time
            if self._known is None or self._known.url != http.url:
                self._known = await _ask(http)
            return self._known

    async def catalogue_anew(self, http: ComfyUIHTTP) -> Catalogue:
        """What it can run now: model files come and go."""
        known, asked_at = await self.of(http), time.monotonic()
        catalogue = await _catalogue(http)
        self._known = replace(known, catalogue=catalogue, asked_at=asked_at)
        return catalogue


async def _ask(http: ComfyUIHTTP) -> Surroundings:
    system = (await http.system_stats()).get("system") or {}
    worker = WorkerInfo(
        comfyui=str(system.get("comfyui_version", "unknown")),
        engine="emulator" if system.get("comfypod_emulator") else "comfyui",
        version=comfypod.__version__,
    )
    local = await find_local_folders(http)
    if local is None:
        event("comfyui_folders_not_seen", logging.WARNING, effect="files are sent and fetched over HTTP")
    return Surroundings(http.url, await _catalogue(http), local, worker)


async def _catalogue(http: ComfyUIHTTP) -> Catalogue:
    return Catalogue(await http.object_info(), tuple(await http.node_replacements()))
