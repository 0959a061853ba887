"""What a worker does before it takes jobs: see that its bucket works, and bring the models it always needs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

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


async def fetch_boot_models_into(facilities: Facilities, folders: Mapping[str, Sequence[Path]]) -> None:
    """Fetch what ``models.toml`` wants at boot, into the folders of each kind that a ComfyUI which boots will use.

    Raises:
        ModelFetchFailed: one of them cannot be had.
        DeadlineExceeded: there was no time for all, within COMFYUI_STARTUP_TIMEOUT_SECONDS.
    """
    if not (wanted := _wanted(facilities)):
        return
    deadline = Deadline.after(facilities.settings.comfyui_startup_timeout_seconds)
    async with facilities.outside.open() as network:
        store = facilities.outside.models_in(folders, network)
        async with store.using(wanted):
            await fetch_all(wanted, store, deadline, _every_few_seconds())


async def fetch_boot_models(facilities: Facilities, source: ServerSource) -> None:
    """The same with a ComfyUI whose folders nobody knows before it answers.

    Raises:
        ModelFetchFailed, DeadlineExceeded: as above.
    """
    outside = facilities.outside
    if not (wanted := _wanted(facilities)):
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


def in_background(name: str, action: Callable[[], None]) -> Future[None]:
    """Do something in a thread that ends with the program; ask for the result to hear how it ended."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 (the boundary of a thread: raised where the result is asked for)
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def _wanted(facilities: Facilities) -> list[str]:
    return [entry.key for entry in facilities.outside.manifest.entries if entry.when == "boot"]


def _every_few_seconds() -> Callable[[str], None]:
    """Logs what it is told, now and then."""
    last = 0.0

    def tell(message: str) -> None:
        nonlocal last
        if time.monotonic() - last >= TELL_SECONDS:
            last = time.monotonic()
            event("models", message=message)

    return tell
