"""``/health``, ``/ready``, ``/metrics``, and the interface described: for those who run the gateway, without a key."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from aiohttp import web

from comfypod.errors import ComfyPodError
from comfypod.gateway.answers import json_answer
from comfypod.gateway.desk import Desk
from comfypod.gateway.links import API
from comfypod.gateway.operations.counters import Counters
from comfypod.gateway.operations.metrics import CONTENT_TYPE, StoreFigures, metrics_text
from comfypod.gateway.operations.openapi import openapi_document
from comfypod.gateway.operations.page import openapi_page


class OperationRoutes:
    """How the gateway is."""

    def __init__(self, desk: Desk, counters: Counters) -> None:
        self._desk = desk
        self._counters = counters
        self.is_stopping = False

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes."""
        yield web.get("/health", self._health)
        yield web.get("/ready", self._ready)
        yield web.get("/metrics", self._metrics)
        yield web.get(f"{API}/openapi.json", self._openapi)
        yield web.get("/", self._page)

    async def _health(self, _request: web.Request) -> web.Response:
        """The process answers; no more is asked."""
        return json_answer({"status": "healthy"})

    async def _ready(self, _request: web.Request) -> web.Response:
        """Whether requests should be sent here: jobs can be kept, and a master is there to run them."""
        try:
            masters = await self._desk.living_masters()
        except ComfyPodError as error:
            return json_answer({"status": "not ready", "cause": error.code}, 503)
        if self.is_stopping:
            return json_answer({"status": "not ready", "cause": "stopping"}, 503)
        if not masters:
            return json_answer({"status": "not ready", "cause": "no master"}, 503)
        return json_answer({"status": "ready", "masters": masters})

    async def _metrics(self, _request: web.Request) -> web.Response:
        store = self._desk.store
        oldest = await self._desk.ask(store.oldest_queued_at)
        figures = StoreFigures(
            requests=await self._desk.ask(store.counts),
            queue_age_seconds=(datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0,
            outbox=await self._desk.ask(store.outbox_counts),
            masters=await self._desk.living_masters(),
        )
        text = metrics_text(figures, self._counters)
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _openapi(self, _request: web.Request) -> web.Response:
        return json_answer(openapi_document())

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text=openapi_page(openapi_document()), content_type="text/html")
