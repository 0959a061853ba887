"""RunPod, seen from outside, did not deliver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from comfypod.errors.base import ComfyPodError, ErrorWithFields


class CloudError(ComfyPodError):
    """RunPod, seen from outside, did not deliver."""

    code = "cloud_error"


@dataclass(eq=False)
class AuthenticationFailed(ErrorWithFields, CloudError):
    """The API key was refused (HTTP 401)."""

    code = "authentication_failed"
    url: str

    def __str__(self) -> str:
        return f"{self.url} refused the API key; set RUNPOD_API_KEY to a key that may use this endpoint"


@dataclass(eq=False)
class EndpointNotFound(ErrorWithFields, CloudError):
    """There is no such endpoint (HTTP 404 on /run)."""

    code = "endpoint_not_found"
    url: str

    def __str__(self) -> str:
        return f"There is no endpoint at {self.url}; check the endpoint id"


@dataclass(eq=False)
class RequestRefused(ErrorWithFields, CloudError):
    """The platform refused the request itself (HTTP 4xx): too large, or not what it expects."""

    code = "request_refused"
    url: str
    status: int
    answer: str

    def __str__(self) -> str:
        return f"{self.url} refused the request with HTTP {self.status}: {self.answer or 'no reason was given'}"


@dataclass(eq=False)
class JobNotFound(ErrorWithFields, CloudError):
    """The job is unknown, or its result expired (HTTP 404 on /status)."""

    code = "job_not_found"
    job_id: str

    def __str__(self) -> str:
        return (
            f"RunPod does not know job {self.job_id} (any more): it keeps a result for 30 minutes after the job's end, "
            "and a job for its time to live, a day by default; or the id is of another endpoint"
        )


@dataclass(eq=False)
class SubmissionUncertain(ErrorWithFields, CloudError):
    """A job was sent, and whether the platform has it cannot be told.

    ``cause`` is what happened to the request, ``search`` why the job was not found afterwards; both are clauses.
    ``Client.find`` with the key looks again.
    """

    code = "submission_uncertain"
    idempotency_key: str
    cause: str
    search: str

    def __str__(self) -> str:
        return (
            f"The job was sent ({self.cause}), and whether RunPod has it is not known: {self.search}. It was not sent "
            f"again, because it could run twice. Look for the key {self.idempotency_key} in the endpoint's jobs, or "
            "send the job again if that does no harm"
        )


@dataclass(eq=False)
class ResultOnVolume(ErrorWithFields, CloudError):
    """A file was left on the endpoint's volume (``delivery: path``), where a client cannot read it."""

    code = "result_on_volume"
    path: str

    def __str__(self) -> str:
        return f"{self.path} lies on the endpoint's volume, out of reach from here; ask for delivery inline or bucket"


@dataclass(eq=False)
class CloudUnavailable(ErrorWithFields, CloudError):
    """The platform did not answer, or answered 429 or 5xx for as long as the deadline allowed."""

    code = "cloud_unavailable"
    retryable = True
    url: str
    cause: str

    def __str__(self) -> str:
        return f"{self.url} is unavailable: {self.cause}"


@dataclass(eq=False)
class JobFailed(ErrorWithFields, CloudError):
    """The job ended FAILED; ``output`` is what the worker said besides.

    Where the worker named its error by ``code``, the error raised is of that class too: ``except OutOfMemory`` catches
    it, and ``code``, ``retryable`` and the fields are as the worker said.
    """

    code = "job_failed"
    job_id: str
    error: str
    output: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.error


@dataclass(eq=False)
class JobCancelled(ErrorWithFields, CloudError):
    """The job was cancelled."""

    code = "job_cancelled"
    job_id: str

    def __str__(self) -> str:
        return f"Job {self.job_id} was cancelled"


@dataclass(eq=False)
class JobTimedOut(ErrorWithFields, CloudError):
    """The platform gave the job up (TIMED_OUT)."""

    code = "job_timed_out"
    job_id: str

    def __str__(self) -> str:
        return f"RunPod gave job {self.job_id} up after its execution timeout or time to live"
