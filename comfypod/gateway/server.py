"""The gateway from its start to its stop: the application at its address, and what goes on behind it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from logging import WARNING

from aiohttp import web

from comfypod.errors import ComfyPodError
from comfypod.gateway.application import make_application
from comfypod.gateway.assets.routes import AssetRoutes
from comfypod.gateway.assets.service import SWEPT_AT_ONCE, Assets
from comfypod.gateway.desk import Desk
from comfypod.gateway.jobs.events import EventRoutes
from comfypod.gateway.jobs.routes import JobRoutes
from comfypod.gateway.jobs.service import Jobs
from comfypod.gateway.operations.counters import Counters
from comfypod.gateway.operations.routes import OperationRoutes
from comfypod.gateway.options import GatewayOptions
from comfypod.gateway.origins import Origins
from comfypod.gateway.runpod.documents import status_document
from comfypod.gateway.runpod.hook import HookRoutes
from comfypod.gateway.runpod.routes import RunPodRoutes
from comfypod.gateway.watch import Watch
from comfypod.gateway.webhooks.addresses import WebhookAddresses, webhook_policy
from comfypod.gateway.webhooks.routes import OwnRoutes
from comfypod.gateway.webhooks.sender import Sender
from comfypod.listening import is_loopback, listen, url_from_here
from comfypod.logs import event, log
from comfypod.master.store import Store
from comfypod.storage.buckets.bucket import Bucket
from comfypod.storage.safe_http import SafeHTTP

STOP_SECONDS = 10.0
"""How long answers may take that are under way when the gateway stops."""
SWEEP_SECONDS = 600.0


class Gateway:
    """Serves the Comfy API, and sends webhooks. `start` it, and `stop` it in the end; the store is its caller's."""

    def __init__(self, options: GatewayOptions, store: Store, bucket: Bucket) -> None:
        self.port = options.port
        self._options = options
        self._desk = desk = Desk(store)
        counters, origins = Counters(), Origins(options)
        policy = webhook_policy(allows_private=options.allows_private_webhooks)
        self._watch = Watch(desk, options.poll_seconds)
        self._assets = Assets(desk, bucket)
        self._http = SafeHTTP(policy)
        self._sender = Sender(desk, self._http, origins, lambda request: status_document(request, bucket.url), counters)
        self._operations = OperationRoutes(desk, counters)
        webhooks = WebhookAddresses(desk, policy)
        jobs = Jobs(desk, self._assets, webhooks, requires_master=options.requires_master)
        parts = (
            JobRoutes(desk, jobs, origins),
            EventRoutes(desk, self._watch, origins, options.limits, counters),
            AssetRoutes(self._assets, origins, options.retention),
            OwnRoutes(desk, webhooks, origins),
            RunPodRoutes(desk, jobs, self._watch, bucket),
            HookRoutes(desk),
            self._operations,
        )
        routes = [route for part in parts for route in part.routes()]
        self._runner = web.AppRunner(
            make_application(desk, routes, options, counters),
            access_log=None,
            auto_decompress=False,
            handler_cancellation=True,  # who goes away ends what was done for him; a transaction is whole or nothing
            keepalive_timeout=options.limits.answer_seconds,
            shutdown_timeout=STOP_SECONDS,
        )
        self._resources = AsyncExitStack()

    @property
    def url(self) -> str:
        """Where a program on this machine finds the gateway."""
        return url_from_here(self._options.host, self.port)

    async def start(self) -> None:
        """Listen; port 0 means any free port, and `port` then says which.

        Raises:
            ConfigurationError: the port is taken, or the address is not this machine's.
        """
        host, port = self._options.host, self._options.port
        options = "--host and --port"
        self.port = await listen(self._runner, host, port, clause="The gateway cannot listen", options=options)
        await self._resources.enter_async_context(self._watch)
        await self._resources.enter_async_context(self._http)
        await self._resources.enter_async_context(self._sender)
        sweeping = asyncio.create_task(self._sweep_for_ever(), name="assets")
        self._resources.push_async_callback(_end, sweeping)
        event("gateway_started", host=host, port=self.port, is_open=not is_loopback(host))

    async def stop(self) -> None:
        """Take nothing more, let what is under way come to its end, and close everything. May be called twice."""
        self._operations.is_stopping = True
        self._watch.close()
        await self._runner.cleanup()
        await self._resources.aclose()
        await self._desk.close()
        event("gateway_stopped")

    async def _sweep_for_ever(self) -> None:
        """Delete files whose time is over. Several gateways may do so at once: what is gone is gone."""
        while True:
            swept = 0
            try:
                swept = await self._assets.sweep()
            except ComfyPodError as error:
                event("assets_not_swept", WARNING, code=error.code, cause=str(error))
            except Exception as error:  # noqa: BLE001 (the boundary of a service: the next file may go)
                log.error("sweeping_failed", exc_info=error)
            if swept < SWEPT_AT_ONCE:
                await asyncio.sleep(SWEEP_SECONDS)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
