"""The endpoint as the server's event loop sees it: each call of the client, awaited.

Failures are told after a few seconds: whoever follows a run bears them for as long as the run lives, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any

from comfypod.cloud.client import Client
from comfypod.cloud.jobs import JobStatus
from comfypod.threads import CallsInThreads
from comfypod.web.saving import SavedOutput, save_output

PATIENCE_SECONDS = 3.0
"""Bears a lost connection or a rate limit; longer troubles are to be told."""
CALLS_AT_ONCE = 16
DESCRIBING_SECONDS = 240.0
"""A worker may have to start for it; the page waits for 300 s."""


class Platform:
    """The calls of one endpoint. What they raise is what the client's raise."""

    def __init__(self, client: Client) -> None:
        self._client = copy(client)
        self._client.endpoint = client.endpoint.with_patience(PATIENCE_SECONDS)
        self._calls = CallsInThreads(CALLS_AT_ONCE)
        self.url = client.endpoint.url

    async def submit(self, job_input: Mapping[str, Any], key: str) -> str:
        """Send a job and return its id.

        Raises:
            SubmissionUncertain: it was sent, and may exist.
            CloudUnavailable: it does not exist; it may be sent again.
        """
        job = await self._calls.call(self._client.submit_input, job_input, idempotency_key=key)
        return job.id

    async def find(self, key: str) -> str | None:
        """The id of the job with this key, if the endpoint lists it."""
        job = await self._calls.call(self._client.find, key)
        return job.id if job else None

    async def status(self, job_id: str) -> JobStatus:
        """Where a job stands."""
        return await self._calls.call(self._client.job(job_id).status)

    async def cancel(self, job_id: str) -> None:
        """Cancel a job; one that has ended stays as it is."""
        await self._calls.call(self._client.job(job_id).cancel)

    async def health(self) -> Mapping[str, Any]:
        """Counts of jobs and workers by state."""
        return await self._calls.call(self._client.health)

    async def describe(self, workflow: Mapping[str, Any] | str) -> Mapping[str, Any]:
        """What a worker says of a workflow's inputs; ``workflow`` must be a document or a template's checked name."""
        return await self._calls.call(self._client.describe, workflow, timeout_seconds=DESCRIBING_SECONDS)

    async def save(self, output: Mapping[str, Any], folder: Path) -> SavedOutput:
        """Bring the files of a job's output into a folder."""
        return await self._calls.call(save_output, output, folder)
