"""A job submitted: its assets found, its call made a request of the store, each Idempotency-Key used once."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from comfypod.errors import DeploymentNotReady, IdempotencyKeyReused, KeyUsed, MalformedCall
from comfypod.gateway.assets.documents import AssetFile
from comfypod.gateway.assets.service import Assets
from comfypod.gateway.desk import Desk
from comfypod.gateway.jobs.submission import JobCall
from comfypod.gateway.webhooks.addresses import WebhookAddresses
from comfypod.gateway.webhooks.messages import WEBHOOK
from comfypod.master.documents import NewRequest, Notification, Request
from comfypod.master.fairness import PRIORITIES, Priority

KEY_HEADER = "Idempotency-Key"
USER_HEADER = "X-Comfypod-User"
PRIORITY_HEADER = "X-Comfypod-Priority"
WEBHOOK_HEADER = "X-Comfypod-Webhook"
KEY_LIFETIME = timedelta(hours=24)
RETRY_SECONDS = 5.0
_KEY = re.compile(r"[ -~]{1,255}")
_USER = re.compile(r"[!-~]{1,128}")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a call's headers say: the key, whose turn it is within the tenant, how urgent it is, and who is told."""

    idempotency_key: str | None
    user: str | None
    priority: Priority
    webhook: str | None = field(repr=False)

    @classmethod
    def parse(cls, headers: Mapping[str, str]) -> Wishes:
        """Read the headers.

        Raises:
            MalformedCall: one of them is not as it should be.
        """
        key, user = headers.get(KEY_HEADER), headers.get(USER_HEADER)
        if key is not None and not _KEY.fullmatch(key):
            raise MalformedCall(f"{KEY_HEADER} must be 1 to 255 printable ASCII characters")
        if user is not None and not _USER.fullmatch(user):
            raise MalformedCall(f"{USER_HEADER} must be 1 to 128 printable ASCII characters without spaces")
        wanted = headers.get(PRIORITY_HEADER, "normal")
        priority = next((item for item in PRIORITIES if item == wanted), None)
        if priority is None:
            raise MalformedCall(f"{PRIORITY_HEADER} must be one of {', '.join(PRIORITIES)}")
        return cls(key, user, priority, headers.get(WEBHOOK_HEADER))


class Jobs:
    """Takes jobs."""

    def __init__(self, desk: Desk, assets: Assets, webhooks: WebhookAddresses, *, requires_master: bool) -> None:
        self._desk = desk
        self._assets = assets
        self._webhooks = webhooks
        self._requires_master = requires_master

    async def submit(self, tenant: str, call: JobCall, wishes: Wishes, trace_id: str, origin: str) -> Request:
        """Make a request of a job; ``origin`` is the address by which its program knows the gateway.

        Raises:
            MissingAsset: the workflow loads what is not there.
            KeyUsed: the Idempotency-Key made a job within the last day, the same or another.
            WebhookRefused: nothing may be posted to the address.
            QuotaExceeded, QueueFull, DeploymentNotReady: not now.
        """
        if self._requires_master:
            await self._check_master()
        ids = call.asset_ids()
        found: dict[str, AssetFile] = await self._assets.files(tenant, ids)
        new = NewRequest(
            tenant=tenant,
            user=wishes.user or tenant,
            idempotency_key=await self._name(tenant, wishes.idempotency_key),
            job_input=call.job_input(found.get),
            priority=wishes.priority,
            labels=call.labels,
            origin={"front_end": "gateway", "address": origin, "assets": ids},
            notify=await self.notifications(tenant, wishes.webhook, {"form": "job", "address": origin}),
            trace_id=trace_id,
        )
        try:
            submitted = await self._desk.ask(self._desk.store.submit, new)
        except IdempotencyKeyReused as error:
            raise KeyUsed(error.key) from error
        if not submitted.is_new:
            raise KeyUsed(submitted.request.key)
        return submitted.request

    async def notifications(
        self, tenant: str, webhook: str | None, target: Mapping[str, str]
    ) -> tuple[Notification, ...]:
        """Who is told when a request ends: at the address that its call names, else at the tenant's own, if any.

        Raises:
            WebhookRefused: nothing may be posted there.
        """
        url = webhook or await self._webhooks.default(tenant)
        if url is None:
            return ()
        return (Notification(WEBHOOK, {**target, "url": self._webhooks.checked(url), "tenant": tenant}),)

    async def _name(self, tenant: str, key: str | None) -> str:
        """What the store knows the request by.

        The store keeps a key for as long as its request, and the contract for a day. So a key that is older has
        another name, which the request that used it last gives: whoever uses it now finds the same one.
        """
        if key is None:
            return f"drawn:{secrets.token_hex(16)}"
        name = f"job:{key}"
        while (earlier := await self._desk.ask(self._desk.store.find, tenant, name)) is not None:
            if datetime.now(UTC) - earlier.created_at < KEY_LIFETIME:
                raise KeyUsed(earlier.key)
            name = f"job:{key}#{earlier.key}"
        return name

    async def _check_master(self) -> None:
        if not await self._desk.living_masters():
            raise DeploymentNotReady(RETRY_SECONDS)
