"""A batch on an endpoint: the same leases, each item a job, so many of them at once, results to the same place.

The endpoint counts as one pod of the batch. RunPod bills its workers from start to stop; what is known here are the
seconds in which jobs ran, and that is what the batch's account has.
"""

from __future__ import annotations

import hashlib
import mimetypes
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from logging import WARNING
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol

from comfypod.batch.documents import Condition, File, Item, Offer, Pod, PodWish, Pulse, Record
from comfypod.batch.providers.names import PodName
from comfypod.batch.store import BatchStore
from comfypod.cloud.many import Outcome
from comfypod.cloud.result import Result
from comfypod.errors import (
    CloudUnavailable,
    ComfyPodError,
    DeliveryError,
    JobCancelled,
    JobTimedOut,
    NoOutput,
    PodEnded,
    StoreUnavailable,
    SubmissionUncertain,
)
from comfypod.logs import event

PULSE_SECONDS: Final = 5.0
ALONE_SECONDS: Final = 3600.0
HOUR: Final = 3600.0
_ELSEWHERE: Final = (CloudUnavailable, JobCancelled, JobTimedOut, SubmissionUncertain)
"""Ways in which a job ends that say nothing of its item."""

Store = Callable[[Path, File], File]
"""Sends a file to where results go, once; it returns what is there now. Raises `ComfyPodError`."""


class Endpoint(Protocol):
    """What is asked of `comfypod.cloud.client.Client`."""

    def run_many(self, items: Iterable[Mapping[str, Any]], concurrency: int) -> Generator[Outcome, None, None]:
        """Run a job for each item, so many at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerlessOptions:
    """How a batch is run on an endpoint.

    Args:
        at_once: jobs on it at most.
        is_once: its workers have a bucket in common, so that a job that is sent twice is run once.
    """

    offer: Offer
    at_once: int
    is_once: bool
    pulse_seconds: float = PULSE_SECONDS


class ServerlessRun:
    """One run of a batch on an endpoint. Call `run`; it blocks."""

    def __init__(
        self, store: BatchStore, batch: int, endpoint: Endpoint, save: Store, options: ServerlessOptions
    ) -> None:
        self._store = store
        self._batch = batch
        self._endpoint = endpoint
        self._save = save
        self._options = options
        self._in_hand: dict[str, Item] = {}
        self._items: list[Item] = []
        self._present = tuple(store.book(batch).assets)
        self._busy_seconds = 0.0
        self._begun_at = time.time()
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._is_cancelled = False
        self._name = ""

    def run(self, stop: threading.Event) -> None:
        """Have items made until none is left, the batch is paused or cancelled, or ``stop`` is set.

        Raises:
            StoreUnavailable: the database is away.
            ComfyPodError: the endpoint cannot be used at all.
        """
        self._begin()
        pulsing = threading.Thread(target=self._pulse_for_ever, name="comfypod-pulse", daemon=True)
        pulsing.start()
        reason = "stopped"
        try:
            while not stop.is_set() and not self._is_over.is_set():
                self._items.clear()
                for outcome in self._endpoint.run_many(self._inputs(stop), self._options.at_once):
                    self._told(self._items[outcome.index], outcome)
                    if self._is_cancelled:
                        break  # which cancels what runs
                reason = "over" if self._is_over.is_set() else "stopped"
                if not self._is_over.is_set():
                    stop.wait(self._options.pulse_seconds)
        finally:
            self._is_over.set()
            pulsing.join(timeout=30)
            self._pulse()
            self._store.end_pod(self._batch, self._name, reason, ended=True)

    def _begin(self) -> None:
        """Write the endpoint down as a pod; those of earlier runs have ended with their process."""
        identifier, offer = self._store.of(self._batch).identifier, self._options.offer
        pods = self._store.pods(self._batch)
        for pod in pods:
            self._store.end_pod(self._batch, pod.name, "gone", ended=True)
        generation = 1 + max((pod.generation for pod in pods), default=-1)
        self._name = str(PodName(identifier, 0, generation))
        wish = PodWish(
            batch=identifier,
            number=0,
            name=self._name,
            offer=offer.model_copy(update={"disk_dollars_per_gigabyte_hour": 0.0}),
            image="",
            command=(),
            environment={},
            disk_bytes=0,
        )
        self._store.add_pod(self._batch, wish, generation, time.time() + ALONE_SECONDS)
        rented = Pod(
            identifier=self._name,
            name=self._name,
            state="running",
            dollars_per_hour=0.0,
            price_class="serverless",
            gpu=offer.gpu,
        )
        self._store.rented(self._batch, rented)
        condition = Condition(
            gpu=offer.gpu,
            gpu_memory_bytes=offer.memory_bytes,
            free_disk_bytes=0,
            disk_write_bytes_per_second=0,
            download_bytes_per_second=None,
        )
        self._store.hello(self._batch, self._name, condition)

    def _inputs(self, stop: threading.Event) -> Iterator[Mapping[str, Any]]:
        """Job inputs of leased items; it ends when there are none at this moment."""
        waiting: list[Item] = []
        while not stop.is_set():
            if not waiting:
                waiting = self._leased()
                if not waiting:
                    return
            item = waiting.pop(0)
            self._items.append(item)
            once = {"once": True} if self._options.is_once else {}
            job_input = {**item.job, **once}
            yield {"job_input": job_input, "idempotency_key": item.identifier}

    def _leased(self) -> list[Item]:
        if self._is_money_spent():
            self._is_over.set()
            return []
        try:
            with self._lock:
                in_hand = len(self._in_hand)
            # There is nobody to share with: what is in hand keeps it from nothing.
            work = self._store.lease(self._batch, self._name, self._options.at_once, self._present, made=in_hand)
        except PodEnded:
            self._is_over.set()
            return []
        if work.state in {"over", "cancelled"}:
            self._is_over.set()
        with self._lock:
            self._in_hand.update({item.identifier: item for item in work.items})
        return list(work.items)

    def _is_money_spent(self) -> bool:
        """Whether what runs now may take the rest of the budget; then the batch is paused."""
        batch = self._store.of(self._batch)
        if batch.budget_dollars is None or batch.state != "running":
            return False
        pods = self._store.pods(self._batch)
        made = sum(pod.items for pod in pods)
        seconds = self._busy_seconds + sum(pod.gpu_seconds for pod in pods if pod.name != self._name)
        each = seconds / made if made else self._store.book(self._batch).plan.seconds / self._items_planned()
        with self._lock:
            under_way = len(self._in_hand) + self._options.at_once
        if (seconds + each * under_way) / HOUR * self._options.offer.dollars_per_hour < batch.budget_dollars:
            return False
        self._store.change_state(self._batch, "paused", f"the budget of ${batch.budget_dollars:g} is spent")
        return True

    def _items_planned(self) -> int:
        return max(1, self._store.book(self._batch).plan.items)

    def _told(self, item: Item, outcome: Outcome) -> None:
        """Write down how a job ended; one that says nothing of its item leaves the lease to run out."""
        seconds = _execution_seconds(outcome)
        self._busy_seconds += seconds
        record: Record | None = None
        if outcome.result is not None and outcome.result.get("status") != "duplicate":
            record = self._saved(item, outcome.result, seconds)
        elif outcome.error is not None:
            event("item_failed", WARNING, item=item.identifier, code=outcome.error.code, cause=str(outcome.error))
            if not isinstance(outcome.error, _ELSEWHERE):
                record = _failed(item, outcome.error, seconds)
        if record is not None:
            self._store.record(self._batch, self._name, [record])
        with self._lock:
            self._in_hand.pop(item.identifier, None)

    def _saved(self, item: Item, result: Result, seconds: float) -> Record | None:
        """Its files to where results go."""
        folder = Path(tempfile.mkdtemp(prefix="comfypod-item-"))
        try:
            files = self._sent(item, result.save(folder))
        except ComfyPodError as error:
            event("result_not_saved", WARNING, item=item.identifier, code=error.code, cause=str(error))
            is_final = isinstance(error, DeliveryError) and not error.retryable
            return _failed(item, error, seconds) if is_final else None
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if not files:
            return _failed(item, NoOutput(), seconds)
        return Record(
            identifier=item.identifier,
            status="succeeded",
            files=tuple(files),
            started_at=time.time() - seconds,
            gpu_seconds=seconds,
        )

    def _sent(self, item: Item, paths: Sequence[Path]) -> list[File]:
        files: dict[str, File] = {}
        for path in paths:
            name = _free(path.name, files)
            with path.open("rb") as content:
                sha256 = hashlib.file_digest(content, "sha256").hexdigest()
                size_bytes = content.tell()
            media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
            place = f"{item.name or item.identifier}/{name}"
            files[name] = self._save(
                path, File(name=place, sha256=sha256, size_bytes=size_bytes, media_type=media_type)
            )
        return list(files.values())

    def _pulse_for_ever(self) -> None:
        while not self._is_over.wait(self._options.pulse_seconds):
            self._pulse()

    def _pulse(self) -> None:
        """Renew the leases, and tell what it has cost."""
        with self._lock:
            in_hand = tuple(self._in_hand)
        now = time.time()
        try:
            billed = self._busy_seconds / HOUR * self._options.offer.dollars_per_hour
            self._store.set_price(self._batch, self._name, billed / max(1.0, now - self._begun_at) * HOUR)
            self._store.set_end(self._batch, self._name, now + ALONE_SECONDS)
            self._store.sample_progress(self._batch)
            pulse = Pulse(in_hand=in_hand, present=self._present, busy_seconds=self._busy_seconds)
            orders = self._store.pulse(self._batch, self._name, pulse)
            self._store.expire(self._batch)  # only now: of what is not in hand any more
            if orders.state == "cancelled":
                self._is_cancelled = True
                self._is_over.set()
        except PodEnded:
            self._is_over.set()
        except StoreUnavailable as error:
            event("waiting_for", WARNING, code=error.code, cause=str(error))


def _failed(item: Item, error: ComfyPodError, seconds: float) -> Record:
    told = {"code": error.code, "message": str(error), "retryable": error.retryable}
    return Record(
        identifier=item.identifier,
        status="failed",
        started_at=time.time() - seconds,
        gpu_seconds=seconds,
        error=told,
    )


def _execution_seconds(outcome: Outcome) -> float:
    milliseconds = None if outcome.job is None else outcome.job.latest.execution_ms
    return max(0.0, (milliseconds or 0) / 1000)


def _free(name: str, taken: Mapping[str, File]) -> str:
    """The name, or one with a number: two nodes may save under the same one."""
    path, number, free = PurePosixPath(name), 1, name
    while free in taken:
        number += 1
        free = f"{path.stem} ({number}){path.suffix}"
    return free
