"""The endpoints that requests are sent to: each call awaited, and which of them is worth asking.

What a call raises is what `comfypod.cloud.client.Client` raises; nothing is decided here about the request.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from comfypod.cloud.client import Client
from comfypod.cloud.jobs import JobStatus
from comfypod.errors import AuthenticationFailed, CloudUnavailable, ComfyPodError, EndpointNotFound, SubmissionUncertain
from comfypod.master.breaker import Breaker
from comfypod.threads import CallsInThreads

PATIENCE_SECONDS = 3.0
"""Bears a lost connection or a rate limit; what takes longer is for the breaker, and for whoever follows the job."""
CALLS_AT_ONCE = 32
EXECUTION_MARGIN_SECONDS = 60.0
"""A worker is given so much longer by RunPod than the job has: it shall say itself that it took too long."""
LEAST_EXECUTION_SECONDS = 5.0


class MasterEndpoint:
    """One endpoint, and its breaker; ``name`` is what a request keeps of it."""

    def __init__(self, name: str, client: Client) -> None:
        self.name = name
        self.url = client.endpoint.url
        self.breaker = Breaker()
        self._client = copy(client)
        self._client.endpoint = client.endpoint.with_patience(PATIENCE_SECONDS)
        self._calls = CallsInThreads(CALLS_AT_ONCE)

    async def submit(
        self, job_input: Mapping[str, Any], key: str, timeout_seconds: float | None, webhook: str | None
    ) -> str:
        """Post a job for a turn that `Endpoints.take` gave, and return its id; the breaker learns how it went.

        Raises:
            SubmissionUncertain: it may exist. The worker knows the key, so it may be sent again.
            CloudUnavailable, AuthenticationFailed, EndpointNotFound, RequestRefused: it does not exist.
        """
        execution_seconds = None
        if timeout_seconds is not None:
            execution_seconds = max(LEAST_EXECUTION_SECONDS, timeout_seconds + EXECUTION_MARGIN_SECONDS)
        try:
            job = await self._calls.call(
                self._client.submit_input,
                job_input,
                idempotency_key=key,
                webhook=webhook,
                execution_timeout_seconds=execution_seconds,
            )
        except (CloudUnavailable, SubmissionUncertain):
            self.breaker.failed(time.monotonic())
            raise
        except (AuthenticationFailed, EndpointNotFound):
            self.breaker.failed(time.monotonic(), at_once=True)
            raise
        except ComfyPodError:  # it answered: the request itself was refused
            self.breaker.succeeded()
            raise
        self.breaker.succeeded()
        return job.id

    async def find(self, key: str) -> str | None:
        """The id of a job with this key, if the endpoint lists it; RunPod does not document that call."""
        job = await self._calls.call(self._client.find, key)
        return job.id if job else None

    async def status(self, job_id: str) -> JobStatus:
        """Where a job stands."""
        return await self._calls.call(self._client.job(job_id).status)

    async def cancel(self, job_id: str) -> JobStatus:
        """Cancel a job; one that has ended stays as it is, and the answer says how it ended."""
        return await self._calls.call(self._client.job(job_id).cancel)


class Endpoints:
    """All of them, the preferred one first."""

    def __init__(self, endpoints: Sequence[MasterEndpoint]) -> None:
        self._endpoints = tuple(endpoints)

    def named(self, name: str | None) -> MasterEndpoint | None:
        """The one with this name; None where the master does not serve it any more."""
        return next((item for item in self._endpoints if item.name == name), None)

    def take(self, avoid: str | None = None) -> MasterEndpoint | None:
        """The first that may be asked now; one that is to be avoided comes last. None: no breaker lets anybody pass.

        Whoever gets one must call `MasterEndpoint.submit`, or give the turn back to its breaker.
        """
        now = time.monotonic()
        ordered = sorted(self._endpoints, key=lambda item: item.name == avoid)
        return next((item for item in ordered if item.breaker.take(now)), None)
