"""``comfypod batch run --provider serverless``: the same items as jobs of an endpoint."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from logging import WARNING
from pathlib import Path
from types import FrameType

from comfypod.batch.coordinator.results_folder import ResultsFolder
from comfypod.batch.coordinator.serverless import ServerlessOptions, ServerlessRun
from comfypod.batch.coordinator.serverless import Store as Save
from comfypod.batch.coordinator.service import take_over, this_process
from comfypod.batch.documents import File, Welcome
from comfypod.batch.runner.environment import RESULTS_TOKEN_VARIABLE, PodEnvironment
from comfypod.batch.runner.results import open_results
from comfypod.batch.store import BatchStore
from comfypod.batch.store.batches import SILENT_SECONDS
from comfypod.batch.store.records import Batch
from comfypod.cli.batch.places import Results
from comfypod.cloud.client import Client
from comfypod.deadline import Deadline
from comfypod.errors import BatchInUse, ComfyPodError, SavingFailed, StoreUnavailable
from comfypod.logs import event
from comfypod.retry import backoff_seconds
from comfypod.settings import Settings

SENDING_SECONDS = 600.0
"""So long a file is tried to be sent; then its item is made again."""
ONE_TRY_SECONDS = 120.0
_COPIED_BYTES = 1024 * 1024


def run_serverless(store: BatchStore, batch: Batch, results: Results, endpoint: str | None, at_once: int) -> None:
    """Have the batch's items made by an endpoint. Ctrl-C lets jobs end that run; once more cancels them.

    Raises:
        BatchInUse: another process runs the batch.
        ConfigurationError: the endpoint, its key, or the bucket is not named.
        CloudError: the endpoint cannot be used.
    """
    owner = this_process()
    take_over(store, batch, owner)
    offer = store.plan(batch.number).pods[0].offer
    options = ServerlessOptions(offer=offer, at_once=at_once, is_once=bool(os.environ.get("BUCKET_ENDPOINT_URL")))
    try:
        with _saving(batch, results) as save, Client(endpoint) as client, _stopping() as stop:
            beating = _Beat(store, batch, owner)
            try:
                ServerlessRun(store, batch.number, client, save, options).run(stop)
            finally:
                beating.end()
    finally:
        store.let_go(batch.number, owner)


class _Beat:
    """Says that this process lives, for others that would take the batch over."""

    def __init__(self, store: BatchStore, batch: Batch, owner: str) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, args=(store, batch, owner), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Say nothing any more."""
        self._over.set()
        self._thread.join(timeout=30)

    def _beat(self, store: BatchStore, batch: Batch, owner: str) -> None:
        while not self._over.wait(SILENT_SECONDS / 3):
            try:
                store.hold(batch.number, owner)
            except (StoreUnavailable, BatchInUse) as error:
                event("batch_not_held", WARNING, code=error.code, cause=str(error))


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Set by the first signal to end; the second one raises KeyboardInterrupt."""
    stop = threading.Event()

    def told(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (the standard library's)
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        event("batch_stopping", WARNING, remedy="jobs that run are waited for; once more cancels them")

    before = {number: signal.signal(number, told) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _saving(batch: Batch, results: Results) -> Iterator[Save]:
    """Sends a file to where results go."""
    if results.folder is not None:
        folder = ResultsFolder(results.folder)
        folder.prepare()
        yield lambda path, file: _kept(folder, path, file)
        return
    pod = PodEnvironment(
        url="http://127.0.0.1",
        token="-",  # noqa: S106 (there is no coordinator to show one to)
        pod="serverless",
        ends_at=time.time(),
        folder=Path(),
        results_token=os.environ.get(RESULTS_TOKEN_VARIABLE) or None,
    )
    welcome = Welcome(
        batch=batch.identifier,
        state="running",
        assets=(),
        results=results.document,
        lease_seconds=batch.lease_seconds,
        session_items=batch.session_items,
        ends_at=time.time(),
    )
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        settings = Settings.from_environment(os.environ)
        place = runner.run(stack.enter_async_context(open_results(welcome, pod, settings)))
        try:
            yield _patient(lambda path, file: runner.run(place.store(path, file, Deadline.after(ONE_TRY_SECONDS))))
        finally:
            runner.run(stack.aclose())


def _patient(save: Save) -> Save:
    """The same, tried for a while."""

    def patient(path: Path, file: File) -> File:
        until = time.monotonic() + SENDING_SECONDS
        for pause in backoff_seconds(first=0.5, longest=30.0):
            try:
                return save(path, file)
            except ComfyPodError as error:
                if not error.retryable or time.monotonic() >= until:
                    raise
                event("result_not_sent", WARNING, file=file.name, code=error.code, cause=str(error))
                time.sleep(pause)
        raise AssertionError

    return patient


def _kept(folder: ResultsFolder, path: Path, file: File) -> File:
    """The file in the folder, or the one that was there before."""
    arriving = folder.arriving(file.name)
    try:
        with path.open("rb") as content:
            while block := content.read(_COPIED_BYTES):
                arriving.write(block)
        if arriving.keep():
            return file
    except OSError as error:
        raise SavingFailed(str(arriving.path), error.strerror or str(error)) from error
    finally:
        arriving.close()
    there = folder.found(file.name)
    return file if there is None else file.model_copy(update={"size_bytes": there[0], "sha256": there[1]})
