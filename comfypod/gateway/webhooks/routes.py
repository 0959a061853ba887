"""``/api/comfypod/…``: a tenant's webhook, those that never arrived, jobs run anew. Not part of the Comfy API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from comfypod.errors import MalformedCall
from comfypod.gateway.access import tenant_of
from comfypod.gateway.answers import json_answer
from comfypod.gateway.bodies import read_json
from comfypod.gateway.desk import Desk
from comfypod.gateway.job_documents import job_document, moment
from comfypod.gateway.origins import Origins
from comfypod.gateway.webhooks.addresses import WebhookAddresses
from comfypod.gateway.webhooks.messages import WEBHOOK, event_name
from comfypod.gateway.webhooks.signing import SECRET_NAME, tenant_secret
from comfypod.master.documents import OutboxItem
from comfypod.storage.addresses import show_address

OWN_API = "/api/comfypod"


class OwnRoutes:
    """What the Comfy API has no route for."""

    def __init__(self, desk: Desk, webhooks: WebhookAddresses, origins: Origins) -> None:
        self._desk = desk
        self._webhooks = webhooks
        self._origins = origins

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes."""
        yield web.get(f"{OWN_API}/webhook", self._webhook)
        yield web.put(f"{OWN_API}/webhook", self._set_webhook)
        yield web.delete(f"{OWN_API}/webhook", self._forget_webhook)
        yield web.get(f"{OWN_API}/dead-letters", self._dead_letters)
        yield web.post(f"{OWN_API}/dead-letters/{{id}}/replay", self._revive)
        yield web.post(f"{OWN_API}/jobs/{{id}}/replay", self._replay)

    async def _webhook(self, request: web.Request) -> web.Response:
        tenant = tenant_of(request).name
        root = await self._desk.ask(self._desk.store.secret, SECRET_NAME)
        url = await self._webhooks.default(tenant)
        return json_answer({"url": url, "secret": tenant_secret(root, tenant)})

    async def _set_webhook(self, request: web.Request) -> web.Response:
        url = (await read_json(request)).get("url")
        if not isinstance(url, str):
            raise MalformedCall("url must be the address to post to")
        await self._webhooks.set_default(tenant_of(request).name, url)
        return await self._webhook(request)

    async def _forget_webhook(self, request: web.Request) -> web.Response:
        await self._webhooks.set_default(tenant_of(request).name, None)
        return web.Response(status=204)

    async def _dead_letters(self, request: web.Request) -> web.Response:
        items = await self._desk.ask(self._desk.store.dead_letters, WEBHOOK, tenant=tenant_of(request).name)
        return json_answer({"dead_letters": [_dead_letter(item) for item in items]})

    async def _revive(self, request: web.Request) -> web.Response:
        await self._desk.ask(self._desk.store.revive, request.match_info["id"], tenant=tenant_of(request).name)
        return web.Response(status=204)

    async def _replay(self, request: web.Request) -> web.Response:
        found = await self._desk.request(tenant_of(request).name, request.match_info["id"])
        replayed = await self._desk.ask(self._desk.store.replay, found.key)
        position = await self._desk.position(replayed)
        return json_answer(job_document(replayed, position, self._origins.links(request)))


def _dead_letter(item: OutboxItem) -> dict[str, Any]:
    return {
        "id": item.identifier,
        "job_id": item.key,
        "type": event_name(item),
        "address": show_address(str(item.target.get("url", ""))),
        "attempts": item.attempts,
        "cause": item.cause,
        "created_at": moment(item.created_at),
        "dead_at": moment(item.dead_at),
    }
