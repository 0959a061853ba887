"""``/v2/NAME/…``: RunPod's interface of an endpoint, on the master. NAME may be anything.

So whatever speaks to RunPod (our own client, command line and web page, RunPod's SDKs) has requests that are never lost
and never run twice, by another base URL and a key of this gateway. Ids are requests' keys.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from comfypod.errors import MalformedCall
from comfypod.gateway.access import TRACE_ID, tenant_of
from comfypod.gateway.answers import json_answer
from comfypod.gateway.bodies import LIMITS, read_json
from comfypod.gateway.desk import Desk
from comfypod.gateway.jobs.service import Jobs, Wishes
from comfypod.gateway.runpod.documents import RunCall, health_document, key_name, listed_document, status_document
from comfypod.gateway.watch import Watch
from comfypod.gateway.webhooks.messages import RUNPOD_FORM
from comfypod.master.documents import NewRequest, Request
from comfypod.master.states import QUEUED, RUNNING, State
from comfypod.storage.buckets.bucket import Bucket

_WAITING: tuple[State, ...] = (QUEUED,)
DEFAULT_LISTED, MOST_LISTED = 100, 500
_SHORTEST_WAIT_MS, _LONGEST_WAIT_MS = 1000, 300_000


class RunPodRoutes:
    """One endpoint, by whatever name."""

    def __init__(self, desk: Desk, jobs: Jobs, watch: Watch, bucket: Bucket) -> None:
        self._desk = desk
        self._jobs = jobs
        self._watch = watch
        self._bucket = bucket

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes, with the methods that RunPod takes them by."""
        base = "/v2/{name}"
        yield web.post(f"{base}/run", self._run)
        yield web.post(f"{base}/runsync", self._runsync)
        for method in ("GET", "POST"):
            yield web.route(method, f"{base}/status/{{id}}", self._status)
            yield web.route(method, f"{base}/status-sync/{{id}}", self._status_sync)
        yield web.post(f"{base}/cancel/{{id}}", self._cancel)
        yield web.post(f"{base}/retry/{{id}}", self._retry)
        yield web.post(f"{base}/purge-queue", self._purge)
        yield web.get(f"{base}/health", self._health)
        yield web.get(f"{base}/requests", self._requests)

    async def _run(self, request: web.Request) -> web.Response:
        found = await self._submit(request)
        return json_answer({"id": found.key, "status": status_document(found, self._bucket.url)["status"]})

    async def _runsync(self, request: web.Request) -> web.Response:
        found = await self._submit(request)
        return await self._answer(await self._watch.ended(found, _wait_seconds(request)))

    async def _submit(self, request: web.Request) -> Request:
        call = RunCall.parse(await read_json(request))
        tenant = tenant_of(request).name
        key = call.idempotency_key or secrets.token_hex(16)
        new = NewRequest(
            tenant=tenant,
            user=Wishes.parse(request.headers).user or tenant,
            idempotency_key=key_name(key) if call.idempotency_key else f"drawn:{key}",
            job_input=call.job_input,
            priority=call.priority,
            origin={"front_end": "runpod", "endpoint": request.match_info["name"]},
            notify=await self._jobs.notifications(tenant, call.webhook, {"form": RUNPOD_FORM}),
            trace_id=request[TRACE_ID],
            timeout_seconds=call.timeout_seconds,
        )
        return (await self._desk.ask(self._desk.store.submit, new)).request

    async def _status(self, request: web.Request) -> web.Response:
        return await self._answer(await self._found(request))

    async def _status_sync(self, request: web.Request) -> web.Response:
        return await self._answer(await self._watch.ended(await self._found(request), _wait_seconds(request)))

    async def _cancel(self, request: web.Request) -> web.Response:
        found = await self._found(request)
        cancelled = await self._desk.ask(self._desk.store.cancel, found.key)
        return json_answer({"id": cancelled.key, "status": status_document(cancelled, self._bucket.url)["status"]})

    async def _retry(self, request: web.Request) -> web.Response:
        found = await self._found(request)
        await self._desk.ask(self._desk.store.replay, found.key)
        return json_answer({"id": found.key, "status": "IN_QUEUE"})

    async def _purge(self, request: web.Request) -> web.Response:
        """Cancel what waits, of this tenant."""
        tenant, removed = tenant_of(request).name, 0
        while waiting := await self._desk.ask(self._desk.store.list, tenant=tenant, states=_WAITING, limit=100):
            for item in waiting:
                removed += (await self._desk.ask(self._desk.store.cancel, item.key)).is_ended
        return json_answer({"removed": removed, "status": "completed"})

    async def _health(self, _request: web.Request) -> web.Response:
        counts = await self._desk.ask(self._desk.store.counts)
        return json_answer(health_document(counts, await self._desk.living_masters()))

    async def _requests(self, request: web.Request) -> web.Response:
        """RunPod documents no answer of this; ours is as the local RunPod's."""
        limit = min(_number(request, "limit", DEFAULT_LISTED), MOST_LISTED)
        found = await self._desk.ask(self._desk.store.list, tenant=tenant_of(request).name, limit=limit)
        return json_answer({"requests": [listed_document(item) for item in found]})

    async def _found(self, request: web.Request) -> Request:
        return await self._desk.request(tenant_of(request).name, request.match_info["id"])

    async def _answer(self, found: Request) -> web.Response:
        return json_answer(await self._document(found))

    async def _document(self, found: Request) -> dict[str, Any]:
        preview = await self._desk.ask(self._desk.store.preview, found.key) if found.state == RUNNING else None
        return status_document(found, self._bucket.url, preview)


def _wait_seconds(request: web.Request) -> float:
    default = round(request.app[LIMITS].runsync_seconds * 1000)
    milliseconds = _number(request, "wait", default)
    return max(_SHORTEST_WAIT_MS, min(milliseconds, _LONGEST_WAIT_MS)) / 1000


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise MalformedCall(f"{name} must be a whole number above 0")
    return int(text)
