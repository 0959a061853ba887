"""``/api/v2/jobs/ID/events``: what happens to a job, as it happens (server-sent events).

A stream begins with the status, the last progress and the last preview, and ends after the status that is the last.
Before that one come all outputs: a program that reads to the end has seen everything. Nothing is repeated for one that
comes back: each event is a whole snapshot.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Iterator
from typing import Any

from aiohttp import web

from comfypod.errors import TooManyStreams
from comfypod.gateway.access import tenant_of
from comfypod.gateway.answers import json_text
from comfypod.gateway.desk import Desk
from comfypod.gateway.job_documents import output_document, progress_document, status_of
from comfypod.gateway.links import API, Links
from comfypod.gateway.operations.counters import Counters
from comfypod.gateway.options import Limits
from comfypod.gateway.origins import Origins
from comfypod.gateway.outputs import outputs_of
from comfypod.gateway.places import Places
from comfypod.gateway.watch import Snapshot, Topic, Watch

RETRY_SECONDS = 5.0
_COMMENT = b": still here\n\n"
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",  # nginx keeps answers back otherwise (its ngx_http_proxy_module, proxy_buffering)
}

Message = tuple[str, dict[str, Any]]


class Narrator:
    """Says what is new in a job since the last snapshot; progress never falls, whatever is tried again. Pure."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._status: Message | None = None
        self._progress: dict[str, Any] | None = None
        self._preview: int | None = None

    def tell(self, snapshot: Snapshot) -> Iterator[Message]:
        """The messages of this snapshot, in their order."""
        request = snapshot.request
        status: Message = ("status", {"status": status_of(request), "queue_position": snapshot.position})
        if status != self._status and not request.is_ended:
            self._status = status
            yield status
        yield from self._tell_progress(snapshot)
        if request.is_ended:
            for output in outputs_of(request):
                yield "output", output_document(output, request, self._links)
            yield status  # the last one: the SDK reads no further

    def _tell_progress(self, snapshot: Snapshot) -> Iterator[Message]:
        progress = progress_document(snapshot.request)
        if progress is not None and self._progress is not None:
            progress["value"] = max(progress["value"], self._progress["value"])
        if progress is not None and progress != self._progress:
            self._progress = progress
            yield "progress", progress
        preview = snapshot.preview
        if preview is not None and preview.number != self._preview and not snapshot.request.is_ended:
            self._preview = preview.number
            node_id = (progress or {}).get("current_node", "")
            data = base64.b64encode(preview.data).decode()
            yield "preview", {"node_id": node_id, "content_type": preview.content_type, "data_base64": data}


class EventRoutes:
    """The streams of all jobs."""

    def __init__(self, desk: Desk, watch: Watch, origins: Origins, limits: Limits, counters: Counters) -> None:
        self._desk = desk
        self._watch = watch
        self._origins = origins
        self._limits = limits
        self._counters = counters
        refusal = TooManyStreams(limits.streams_at_once, RETRY_SECONDS)
        self._places = Places(limits.streams_at_once, refusal)

    def routes(self) -> Iterable[web.RouteDef]:
        """The route."""
        yield web.get(f"{API}/jobs/{{id}}/events", self._stream, allow_head=False)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        tenant = tenant_of(request).name
        found = await self._desk.request(tenant, request.match_info["id"])
        response = web.StreamResponse(headers=_HEADERS)
        with self._places.one(tenant), self._counters.stream():
            async with self._watch.follow(found) as topic:
                await response.prepare(request)
                try:
                    await self._pass_on(topic, Narrator(self._origins.links(request)), response)
                except TimeoutError:  # it takes nothing any more
                    if request.transport is not None:
                        request.transport.abort()
        return response

    async def _pass_on(self, topic: Topic, narrator: Narrator, response: web.StreamResponse) -> None:
        snapshot = topic.snapshot
        while True:
            for name, document in narrator.tell(snapshot):
                await self._send(response, f"event: {name}\ndata: {json_text(document)}\n\n".encode())
            if snapshot.request.is_ended or self._watch.is_closed:
                return
            seen = snapshot
            snapshot = await topic.after(seen, self._limits.comment_seconds)
            if snapshot is seen:
                await self._send(response, _COMMENT)

    async def _send(self, response: web.StreamResponse, content: bytes) -> None:
        async with asyncio.timeout(self._limits.answer_seconds):
            await response.write(content)
