"""What a worker does before it takes jobs: see that its bucket works, and bring the models it always needs."""

from __future__ import annotations

import time
from collections.abc import Callable

from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.comfyui.server import ServerSource
from comfypod.deadline import Deadline
from comfypod.errors import ModelFetchFailed
from comfypod.logs import event
from comfypod.worker.facilities import Facilities
from comfypod.worker.preflight import fetch_all

BUCKET_SECONDS = 30.0
TELL_SECONDS = 5.0


async def check_bucket(facilities: Facilities) -> None:
    """Raise `ConfigurationError` if a bucket is configured and cannot be used."""
    if facilities.outside.bucket is not None:
        await facilities.outside.bucket.check(Deadline.after(BUCKET_SECONDS))


async def fetch_boot_models(facilities: Facilities, source: ServerSource) -> None:
    """Fetch what ``models.toml`` wants at boot, within COMFYUI_STARTUP_TIMEOUT_SECONDS.

    Raises:
        ModelFetchFailed: one of them cannot be had.
        DeadlineExceeded: there was no time for all.
    """
    outside = facilities.outside
    wanted = [entry.key for entry in outside.manifest.entries if entry.when == "boot"]
    if not wanted:
        return
    deadline = Deadline.after(facilities.settings.comfyui_startup_timeout_seconds)
    server = await source.ready(deadline)
    async with ComfyUIHTTP(server.url) as http, outside.open() as network:
        surroundings = await facilities.surroundings.of(http)
        store = outside.models(network, surroundings, is_own=server.is_own)
        if store is None:
            raise ModelFetchFailed(wanted[0], "ComfyUI's folders are not seen here; set MODELS_DIRECTORY")
        async with store.using(wanted):
            await fetch_all(wanted, store, deadline, _every_few_seconds())
        await facilities.surroundings.catalogue_anew(http)


def _every_few_seconds() -> Callable[[str], None]:
    """Logs what it is told, now and then."""
    last = 0.0

    def tell(message: str) -> None:
        nonlocal last
        if time.monotonic() - last >= TELL_SECONDS:
            last = time.monotonic()
            event("models", message=message)

    return tell
