"""The client: submit a job, follow it, cancel it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from comfypod.cloud.endpoint import RUNPOD_URL, Endpoint
from comfypod.cloud.jobs import JobState, JobStatus
from comfypod.deadline import Deadline
from comfypod.errors import InvalidJobInput

FIRST_POLL_SECONDS = 0.2
LONGEST_POLL_SECONDS = 1.0

OnStatus = Callable[[JobStatus], None]


class Client:
    """A client of one endpoint; a context manager, to close its connections."""

    def __init__(self, endpoint_id: str, api_key: str, base_url: str = RUNPOD_URL) -> None:
        self.endpoint = Endpoint(endpoint_id, api_key, base_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.endpoint.close()

    def submit(self, job_input: Mapping[str, Any]) -> Job:
        """Queue a job with this input (``docs/reference/job.md``).

        Raises:
            InvalidJobInput: the input is empty. RunPod takes such a job and never gives it to a worker.
            AuthenticationFailed, EndpointNotFound, RequestRefused, CloudUnavailable: the platform did not take it.
        """
        if not job_input:
            raise InvalidJobInput(["input: is empty; RunPod never gives such a job to a worker"])
        return Job(self.endpoint, self.endpoint.run({"input": dict(job_input)}))


class Job:
    """One job on the platform."""

    def __init__(self, endpoint: Endpoint, status: JobStatus) -> None:
        self._endpoint = endpoint
        self.latest = status

    @property
    def id(self) -> str:
        """The id that RunPod gave."""
        return self.latest.id

    def status(self) -> JobStatus:
        """Ask where the job stands."""
        self.latest = self._endpoint.status(self.id)
        return self.latest

    def wait(self, on_status: OnStatus | None = None, timeout_seconds: float = 3600.0) -> Mapping[str, Any]:
        """Poll until the job has ended and return its output; ``on_status`` gets every answer.

        Raises:
            JobFailed, JobCancelled, JobTimedOut: it did not succeed.
            DeadlineExceeded: it has not ended after ``timeout_seconds``; it goes on.
        """
        deadline = Deadline.after(timeout_seconds)
        pause_seconds = FIRST_POLL_SECONDS
        while True:
            status = self.status()
            if on_status is not None:
                on_status(status)
            if status.state.is_final:
                return status.result()
            deadline.check("waiting for the job")
            # Looked at often while it runs, so that progress is smooth; less often while it waits for a worker.
            queued = status.state is JobState.IN_QUEUE
            pause_seconds = min(pause_seconds * 1.3, LONGEST_POLL_SECONDS) if queued else FIRST_POLL_SECONDS
            time.sleep(deadline.sooner(pause_seconds))

    def cancel(self) -> JobStatus:
        """Cancel the job; the worker stops it on the GPU."""
        self.latest = self._endpoint.cancel(self.id)
        return self.latest
