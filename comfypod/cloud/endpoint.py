"""The HTTP interface of one RunPod endpoint: one method per call, every failure mapped in one place."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from comfypod.cloud.jobs import JobStatus
from comfypod.deadline import Deadline
from comfypod.errors import (
    AuthenticationFailed,
    CloudError,
    CloudUnavailable,
    ConfigurationError,
    EndpointNotFound,
    JobNotFound,
    ProtocolViolation,
    RequestRefused,
)
from comfypod.retry import backoff_seconds

RUNPOD_URL = "https://api.runpod.ai/v2"
REQUEST_TIMEOUT_SECONDS = 30.0


class Endpoint:
    """The calls of the endpoint ``endpoint_id`` at ``base_url`` (``https://api.runpod.ai/v2`` or a local RunPod).

    Reading calls are repeated while the platform is busy or away, for at most ``patience_seconds``. A call that creates
    a job is repeated only where it is certain that nothing was created.

    All methods raise `AuthenticationFailed`, `RequestRefused`, `CloudUnavailable` and `ProtocolViolation`.
    """

    def __init__(
        self, endpoint_id: str, api_key: str, base_url: str = RUNPOD_URL, patience_seconds: float = 60.0
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigurationError([f"The base URL {base_url!r} is not an http or https address."])
        self.url = f"{base_url.rstrip('/')}/{endpoint_id}"
        self._patience_seconds = patience_seconds
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {api_key}"

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def run(self, job: Mapping[str, Any]) -> JobStatus:
        """Queue a job (``{"input": …}``).

        Raises:
            EndpointNotFound: there is no such endpoint.
        """
        return JobStatus.parse(self._call("POST", "/run", missing=EndpointNotFound(self.url), json=job))

    def status(self, job_id: str) -> JobStatus:
        """Where a job stands.

        Raises:
            JobNotFound: unknown, or its result expired.
        """
        return JobStatus.parse(self._call("GET", f"/status/{job_id}", missing=JobNotFound(job_id)))

    def cancel(self, job_id: str) -> JobStatus:
        """Cancel a job, queued or running.

        Raises:
            JobNotFound: unknown, or its result expired.
        """
        return JobStatus.parse(self._call("POST", f"/cancel/{job_id}", missing=JobNotFound(job_id)))

    def health(self) -> Mapping[str, Any]:
        """Counts of jobs and workers by state.

        Raises:
            EndpointNotFound: there is no such endpoint.
        """
        return self._call("GET", "/health", missing=EndpointNotFound(self.url))

    def _call(
        self, method: str, path: str, *, missing: CloudError, json: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Call, and call again while the platform is busy (429) or, for reading calls, away; ``missing`` is a 404."""
        patience = Deadline.after(self._patience_seconds)
        delays = backoff_seconds(first=0.5)
        while True:
            try:
                response = self._session.request(method, self.url + path, json=json, timeout=REQUEST_TIMEOUT_SECONDS)
                cause = f"HTTP {response.status_code}"
                again = response.status_code == 429 or (response.status_code >= 500 and path != "/run")
                if not again:
                    return self._document(response, missing)
            except requests.RequestException as error:
                cause, again = str(error), path != "/run" or isinstance(error, requests.ConnectTimeout)
            if not again or patience.remaining_seconds <= 0:
                raise CloudUnavailable(self.url, cause)
            time.sleep(patience.sooner(next(delays)))

    def _document(self, response: requests.Response, missing: CloudError) -> dict[str, Any]:
        """The JSON object in an answer, or what its status means."""
        if response.status_code == 401:
            raise AuthenticationFailed(self.url)
        if response.status_code == 404:
            raise missing
        if response.status_code >= 500:
            raise CloudUnavailable(self.url, f"HTTP {response.status_code}")
        if response.status_code >= 400:
            raise RequestRefused(self.url, response.status_code, response.text[:300].strip())
        try:
            document = response.json()
        except requests.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            raise ProtocolViolation("RunPod", response.text[:200])
        return document
