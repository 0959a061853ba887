"""Very many jobs, a few at a time.

Each job is followed by a thread of its own, so that its result is fetched while RunPod still has it, whatever the
caller is at. The items are taken in the caller's thread, where a database's cursor works, for example. What runs, what
waits and what the caller has not taken yet are together never more than twice ``concurrency``: memory does not grow
with the number of items, and no more jobs are started for a caller who is slow.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Literal

from comfypod.cloud.clock import Clock, StoppingClock
from comfypod.cloud.endpoint import Endpoint
from comfypod.cloud.job import Job
from comfypod.cloud.jobs import JobStatus
from comfypod.cloud.result import Result
from comfypod.errors import ComfyPodError, SubmissionUncertain

OnItemStatus = Callable[[int, JobStatus], None]
Submit = Callable[[Mapping[str, Any], Clock], Job]
"""Submits an item; the job that it returns is followed by this clock."""

CANCEL_PATIENCE_SECONDS = 5.0
"""Whoever stops wants to be gone."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one item ended.

    ``index`` counts the items from 0. ``job`` is None if none came to be. Either ``result`` or ``error`` is set; with
    `CloudUnavailable` as the error the job may still run, and ``job.wait()`` goes on with it.
    """

    index: int
    job: Job | None
    result: Result | None = None
    error: ComfyPodError | None = None


class _CallerFailed(Exception):
    """``on_status`` raised: the caller's affair, and not how the job ended."""


class ManyJobs:
    """One run over many items: call `outcomes` once."""

    def __init__(
        self,
        endpoint: Endpoint,
        submit: Submit,
        on_status: OnItemStatus | None,
        on_stop: Literal["cancel", "leave"],
    ) -> None:
        self._endpoint = endpoint
        self._submit = submit
        self._on_status = on_status
        self._on_stop = on_stop
        self._stopping = threading.Event()
        self._clock = StoppingClock(endpoint.clock, self._stopping)
        self._telling = threading.Lock()

    def outcomes(self, items: Iterable[Mapping[str, Any]], concurrency: int) -> Generator[Outcome, None, None]:
        """Yield each item's outcome as it ends; what ``items`` raises comes after those of the jobs that run."""
        ended: SimpleQueue[Future[Outcome]] = SimpleQueue()
        source = _Source(items)
        outstanding = 0
        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="comfypod-job")
        try:
            while True:
                while outstanding < 2 * concurrency and (item := source.next()) is not None:
                    pool.submit(self._run, *item).add_done_callback(ended.put)
                    outstanding += 1
                    if not ended.empty():
                        break  # items may be slow to come, and somebody waits for this outcome
                if not outstanding:
                    break
                outcome = _taken(ended.get())
                outstanding -= 1
                yield outcome
        finally:
            self._stopping.set()
            pool.shutdown(cancel_futures=True)
        source.check()

    def _run(self, index: int, item: Mapping[str, Any]) -> Outcome:
        """One item, in a thread of the pool."""
        try:
            job = self._submit(item, self._clock)
        except ComfyPodError as error:
            if isinstance(error, SubmissionUncertain) and self._stopping.is_set():
                _logger.warning("item %d: %s", index, error)  # nobody takes the outcome any more
            return Outcome(index, None, error=error)
        try:
            result = job.wait(lambda status: self._tell(index, status))
        except ComfyPodError as error:
            return Outcome(index, self._freed(job), error=error)
        except BaseException:  # nobody waits any more
            self._let_go(job)
            raise
        return Outcome(index, self._freed(job), result)

    def _tell(self, index: int, status: JobStatus) -> None:
        if self._on_status is None:
            return
        try:
            with self._telling:
                self._on_status(index, status)
        except ComfyPodError as error:
            raise _CallerFailed from error

    def _freed(self, job: Job) -> Job:
        """The same job, whose pauses do not end with this run."""
        return Job(self._endpoint, job.latest, job.idempotency_key)

    def _let_go(self, job: Job) -> None:
        if self._on_stop == "leave" or job.latest.state.is_final:
            return
        try:
            self._endpoint.with_patience(CANCEL_PATIENCE_SECONDS).cancel(job.id)
        except ComfyPodError as error:
            _logger.warning("job %s could not be cancelled and goes on: %s", job.id, error)


class _Source:
    """The items with their numbers. What they raise is kept until `check`, and counts as their end."""

    def __init__(self, items: Iterable[Mapping[str, Any]]) -> None:
        self._items = enumerate(items)
        self._failure: Exception | None = None
        self._is_exhausted = False

    def next(self) -> tuple[int, Mapping[str, Any]] | None:
        """The next one, or None if there is none."""
        if self._is_exhausted:
            return None
        try:
            return next(self._items)
        except StopIteration:
            self._is_exhausted = True
        except Exception as error:  # noqa: BLE001 (the caller's own; raised by `check`)
            self._is_exhausted, self._failure = True, error
        return None

    def check(self) -> None:
        """Raise what the items raised."""
        if self._failure is not None:
            raise self._failure


def _taken(ended: Future[Outcome]) -> Outcome:
    """The outcome, or what the caller's own function raised."""
    try:
        return ended.result()
    except _CallerFailed as error:
        if error.__cause__ is None:
            raise
        raise error.__cause__ from None
