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
        return f"Job {self.job_id} is unknown; results are kept for 30 minutes only"


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
    """The job ended FAILED; ``output`` is what the worker said besides."""

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
