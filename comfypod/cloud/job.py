"""One job on the platform, as its caller follows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

from comfypod.cloud.endpoint import Endpoint, OutcomeUnknown
from comfypod.cloud.jobs import JobState, JobStatus, PreviewImage
from comfypod.cloud.result import Result
from comfypod.errors import CloudUnavailable, DeadlineExceeded

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_QUEUED_SECONDS = 2.0
LONGEST_PAUSE_RUNNING_SECONDS = 0.5
_GROWTH = 1.3

OnProgress = Callable[[JobStatus], None]


class Job:
    """One job; ``latest`` is what was heard of it last. ``idempotency_key`` is None if it is not known here."""

    def __init__(self, endpoint: Endpoint, status: JobStatus, idempotency_key: str | None = None) -> None:
        self._endpoint = endpoint
        self.latest = status
        self.idempotency_key = idempotency_key

    def __repr__(self) -> str:
        return f"Job({self.id!r}, {self.latest.state.value})"

    @property
    def id(self) -> str:
        """The id that RunPod gave."""
        return self.latest.id

    def status(self) -> JobStatus:
        """Ask where the job stands.

        Raises:
            JobNotFound: it is unknown, or its result expired.
            AuthenticationFailed, CloudUnavailable: it could not be asked.
        """
        self.latest = self._endpoint.status(self.id)
        return self.latest

    def wait(self, on_progress: OnProgress | None = None, timeout_seconds: float | None = None) -> Result:
        """Wait until the job has ended, and return its result; ``on_progress`` gets every answer.

        Without a timeout, RunPod's own time to live ends it: a day, if the job did not ask for another.

        Raises:
            JobFailed: it failed; also an instance of the class that the worker named, such as `OutOfMemory`.
            JobCancelled, JobTimedOut: it was cancelled, or given up by RunPod.
            JobNotFound: its result expired, or its time to live ended.
            DeadlineExceeded: it has not ended after ``timeout_seconds``; it goes on.
        """
        for status in self._statuses(timeout_seconds):
            if on_progress is not None:
                on_progress(status)
        return self.result()

    def result(self) -> Result:
        """The result of a job that has ended; what is known already is not asked for again.

        Raises:
            DeadlineExceeded: it has not ended.
            JobFailed, JobCancelled, JobTimedOut, JobNotFound: as `wait` does.
        """
        status = self.latest if self.latest.state.is_final else self.status()
        if not status.state.is_final:
            raise DeadlineExceeded(f"asking for the result of job {self.id}, which is {status.state.value}", 0)
        return Result(status.result())

    def previews(self, timeout_seconds: float | None = None) -> Iterator[PreviewImage]:
        """Every preview that is seen, once, until the job has ended; of a job that asked for them (``previews=True``).

        RunPod shows the latest update only, so previews that follow each other quickly are missed. How the job ended
        is not told: call `result` afterwards.

        Raises:
            JobNotFound, DeadlineExceeded: as `wait` does.
        """
        shown = None
        for status in self._statuses(timeout_seconds):
            preview = status.progress.preview if status.progress else None
            if preview is not None and preview != shown:
                shown = preview
                yield preview

    def save(self, folder: Path | str, timeout_seconds: float | None = None) -> list[Path]:
        """Wait if the job has not ended, then write its files below ``folder`` and return where each one is.

        Raises:
            ProtocolViolation, CloudUnavailable, SavingFailed: a file is damaged, not to be had, or cannot be written.
            JobFailed, JobCancelled, JobTimedOut, JobNotFound, DeadlineExceeded: as `wait` does.
        """
        result = self.result() if self.latest.state.is_final else self.wait(timeout_seconds=timeout_seconds)
        return result.save(folder)

    def cancel(self) -> JobStatus:
        """Cancel the job; the worker stops it on the GPU. One that has ended stays as it is; the answer says how."""
        answer = self._endpoint.cancel(self.id)
        if answer.state is JobState.CANCELLED:
            self.latest = answer  # of another end the answer has no result, which `latest` may have
        return answer

    def retry(self) -> JobStatus:
        """Have a job that is FAILED or TIMED_OUT run once more, with the same id and input.

        Raises:
            RequestRefused: it is in another state.
            JobNotFound: it is unknown, or its result expired.
            CloudUnavailable: whether it will run once more is not known.
        """
        try:
            self.latest = self._endpoint.retry(self.id)
        except OutcomeUnknown as error:
            if self.status().state in {JobState.FAILED, JobState.TIMED_OUT}:
                raise CloudUnavailable(self._endpoint.url, f"{error}; the job may run once more, or not") from error
        return self.latest

    def _status_before(self, ends_at: float, timeout_seconds: float | None) -> JobStatus:
        """Ask where the job stands, with no more patience than there is time left."""
        clock = self._endpoint.clock
        try:
            self.latest = self._endpoint.with_patience(max(0.0, ends_at - clock.now())).status(self.id)
        except CloudUnavailable as error:
            if clock.now() < ends_at:
                raise
            raise DeadlineExceeded(f"waiting for the job: {error}", timeout_seconds or 0) from error
        return self.latest

    def _statuses(self, timeout_seconds: float | None) -> Iterator[JobStatus]:
        """Ask until the job has ended, and at least once: seldom while it waits, often while it runs."""
        clock = self._endpoint.clock
        ends_at = math.inf if timeout_seconds is None else clock.now() + timeout_seconds
        pause_seconds, was_running = FIRST_PAUSE_SECONDS, False
        while True:
            status = self._status_before(ends_at, timeout_seconds)
            yield status
            if status.state.is_final:
                return
            left_seconds = ends_at - clock.now()
            if left_seconds <= 0:
                raise DeadlineExceeded("waiting for the job", timeout_seconds or 0)
            if status.state.is_running != was_running:
                pause_seconds, was_running = FIRST_PAUSE_SECONDS, status.state.is_running
            clock.sleep(min(pause_seconds, left_seconds))
            longest = LONGEST_PAUSE_RUNNING_SECONDS if was_running else LONGEST_PAUSE_QUEUED_SECONDS
            pause_seconds = min(pause_seconds * _GROWTH, longest)
