"""One attempt: a job is posted, and its id saved; written down before and after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from comfypod.errors import ComfyPodError
from comfypod.logs import event
from comfypod.master.bearing import stored
from comfypod.master.documents import Request
from comfypod.master.endpoints import Endpoints, MasterEndpoint
from comfypod.master.outcome import Setback
from comfypod.master.points import reached
from comfypod.master.store import Store
from comfypod.master.watch import Wishes

CLOSED_SECONDS = 1.0
"""So often it is looked whether an endpoint takes anything again."""
LAST_SECONDS = 3.0
"""A master that ends waits so long for the answer to a job that was just posted, to save its id."""


@dataclass(frozen=True, slots=True)
class Poster:
    """Posts the jobs of one request."""

    store: Store
    endpoints: Endpoints
    wishes: Wishes
    webhook: Callable[[str], str] | None

    async def post(self, request: Request, avoid: str | None) -> Setback | None:
        """Post a job. None: it is posted, or there is to be none; look at the request."""
        endpoint = await self._open_endpoint(avoid)
        if endpoint is None:
            return None
        attempt = await stored(self.store.begin_attempt, request.key, request.run, endpoint.name)
        if attempt is None:
            endpoint.breaker.give_back()
            self.wishes.is_cancelled = True  # or it has ended, or was replayed: whoever looks next sees it
            return None
        reached("before_post", request.key)
        job_input = await self._job_input(request)
        try:
            job_id = await self._posted(endpoint, request, attempt, job_input)
        except ComfyPodError as error:
            return Setback(error)
        event("job_posted", **_names(request), attempt=attempt, endpoint=endpoint.name, job=job_id)
        return None

    async def _open_endpoint(self, avoid: str | None) -> MasterEndpoint | None:
        """The endpoint to ask, once one is worth asking; None if the request is cancelled meanwhile."""
        while not self.wishes.is_cancelled:
            endpoint = self.endpoints.take(avoid)
            if endpoint is not None:
                return endpoint
            await self.wishes.pause(CLOSED_SECONDS)
        return None

    async def _job_input(self, request: Request) -> dict[str, Any]:
        """What is sent: what was asked for, and the key that the result will be committed under."""
        asked = await stored(self.store.job_input, request.key)
        timeout = {} if request.timeout_seconds is None else {"timeout_seconds": request.timeout_seconds}
        trace = {} if request.trace_id is None else {"trace_id": request.trace_id}
        return {**asked, **timeout, **trace, "idempotency_key": request.key, "once": True}

    async def _posted(self, endpoint: MasterEndpoint, request: Request, attempt: int, job_input: dict[str, Any]) -> str:
        """Post, and save the id. If the master ends meanwhile, both are waited for a little."""
        posting = asyncio.ensure_future(self._post_and_save(endpoint, request, attempt, job_input))
        try:
            return await asyncio.shield(posting)
        except asyncio.CancelledError:
            await asyncio.wait([posting], timeout=LAST_SECONDS)
            posting.cancel()
            await asyncio.gather(posting, return_exceptions=True)
            raise

    async def _post_and_save(
        self, endpoint: MasterEndpoint, request: Request, attempt: int, job_input: dict[str, Any]
    ) -> str:
        webhook = self.webhook(request.key) if self.webhook else None
        job_id = await endpoint.submit(job_input, request.key, request.timeout_seconds, webhook)
        reached("after_post", request.key)
        await stored(self.store.submitted, request.key, attempt, job_id)
        reached("after_save", request.key)
        return job_id


def _names(request: Request) -> dict[str, Any]:
    """By what a log line's request is found: here, and in the logs of who asked for it."""
    return {"key": request.key} | ({"trace_id": request.trace_id} if request.trace_id else {})
