"""Sends webhooks: takes what is due from the outbox, signs it, posts it, and says how it went.

Several gateways may send at once: each takes items under a lease. One that dies after the post and before it says so
leaves the item to another, which posts it again; the receiver knows it by its ``webhook-id``.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from logging import WARNING
from typing import Any, Self

from comfypod.errors import ComfyPodError, DownloadFailed, DownloadInterrupted, RequestNotFound
from comfypod.gateway.answers import json_text
from comfypod.gateway.desk import Desk
from comfypod.gateway.operations.counters import Counters
from comfypod.gateway.origins import Origins
from comfypod.gateway.webhooks.messages import JOB_FORM, WEBHOOK, job_message, pause_seconds
from comfypod.gateway.webhooks.signing import SECRET_NAME, signature_headers, tenant_secret
from comfypod.logs import event, log
from comfypod.master.documents import OutboxItem, Request
from comfypod.storage.addresses import show_address
from comfypod.storage.safe_http import SafeHTTP

LEASE_SECONDS = 60.0
POST_SECONDS = 20.0
POLL_SECONDS = 1.0
AT_ONCE = 10

OtherForm = Callable[[Request], dict[str, Any]]
"""What RunPod's own webhook would say of a job."""


class Sender:
    """Sends until it is stopped; an async context manager."""

    def __init__(
        self, desk: Desk, http: SafeHTTP, origins: Origins, runpod_form: OtherForm, counters: Counters
    ) -> None:
        self._desk = desk
        self._http = http
        self._origins = origins
        self._runpod_form = runpod_form
        self._counters = counters
        self._owner = f"gateway-{secrets.token_hex(8)}"
        self._sending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._sending = asyncio.create_task(self._send_for_ever(), name="webhooks")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    async def _send_for_ever(self) -> None:
        while True:
            taken = 0
            try:
                taken = await self._send_due()
            except* ComfyPodError as errors:  # the store is away; what was taken is due again when its lease is over
                event("webhooks_cannot_be_sent", WARNING, cause=str(errors.exceptions[0]))
            except* Exception as errors:  # noqa: BLE001 (the boundary of a service: the next webhook may go better)
                log.error("webhooks_failed", exc_info=errors)
            if taken < AT_ONCE:
                await asyncio.sleep(POLL_SECONDS)

    async def _send_due(self) -> int:
        items = await self._desk.ask(self._desk.store.claim, WEBHOOK, self._owner, LEASE_SECONDS, AT_ONCE)
        async with asyncio.TaskGroup() as tries:
            for item in items:
                tries.create_task(self._send(item))
        return len(items)

    async def _send(self, item: OutboxItem) -> None:
        try:
            message = await self._message(item)
            await self._post(item, json_text(message).encode())
        except RequestNotFound as error:
            await self._desk.ask(self._desk.store.give_up, item, str(error))
        except (DownloadFailed, TimeoutError) as error:
            await self._failed(item, error)
        else:
            await self._desk.ask(self._desk.store.delivered, item)
            self._counters.webhook("delivered")

    async def _failed(self, item: OutboxItem, error: Exception) -> None:
        """What does not answer is asked again; so is what refuses: it may have been set up wrongly for an hour."""
        cause = str(error) or f"no answer within {POST_SECONDS:g} s"
        is_left = await self._desk.ask(self._desk.store.postpone, item, pause_seconds(item.attempts), cause)
        self._counters.webhook("failed" if is_left else "dead")
        shown = show_address(str(item.target.get("url", "")))
        event("webhook_failed", WARNING, job_id=item.key, address=shown, attempts=item.attempts, cause=cause)

    async def _message(self, item: OutboxItem) -> dict[str, Any]:
        request = await self._desk.ask(self._desk.store.get, item.key)
        if item.target.get("form", JOB_FORM) == JOB_FORM:
            return job_message(item, request, self._origins.at(str(item.target.get("address", ""))))
        return self._runpod_form(request)

    async def _post(self, item: OutboxItem, body: bytes) -> None:
        """Post it once.

        Raises:
            DownloadFailed, TimeoutError: it did not arrive, or was not taken.
        """
        root = await self._desk.ask(self._desk.store.secret, SECRET_NAME)
        secret = tenant_secret(root, str(item.target.get("tenant", "")))
        headers = signature_headers(secret, item.identifier, int(time.time()), body)
        async with asyncio.timeout(POST_SECONDS):
            status = await self._http.post(
                str(item.target.get("url", "")), body, {"Content-Type": "application/json", **headers}
            )
        if not 200 <= status < 300:
            raise DownloadInterrupted(show_address(str(item.target.get("url", ""))), f"it answered HTTP {status}")
