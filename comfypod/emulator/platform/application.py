"""The emulated RunPod as a web application: its routes, and who may use them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from aiohttp import web

from comfypod.emulator.events import log_event
from comfypod.emulator.platform.client_routes import ClientRoutes
from comfypod.emulator.platform.endpoint import EmulatedEndpoint
from comfypod.emulator.platform.http import Handler, UnknownEndpoint, errors_as_json, is_same_key, refusal
from comfypod.emulator.platform.worker_routes import WorkerRoutes

# A refused worker polls again at once; holding its answer keeps it from doing so thousands of times a second.
_REFUSAL_HOLD_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Which endpoint it is, and the keys of its clients and of its workers."""

    endpoint_id: str
    api_key: str
    worker_key: str


class PlatformApplication:
    """The routes of one endpoint.

    ``worker_ids`` tells which worker processes there are, and ``replace`` ends one of them and has another started;
    it tells whether it could.
    """

    def __init__(
        self,
        endpoint: EmulatedEndpoint,
        identity: Identity,
        worker_ids: Callable[[], Collection[str]],
        replace: Callable[[str], bool],
    ) -> None:
        self._endpoint = endpoint
        self._identity = identity
        self._worker_ids = worker_ids
        self._replace = replace

    def build(self) -> web.Application:
        """The application, to be served."""
        application = web.Application(middlewares=[errors_as_json])
        for routes, guard in (
            (ClientRoutes(self._endpoint, self._worker_ids).table(), self._for_client),
            (WorkerRoutes(self._endpoint, self._replace).table(), self._for_worker),
        ):
            for route, handler in routes.items():
                method, path = route.split(" ", 1)
                application.router.add_route(method, "/v2/{endpoint}" + path, guard(handler))
        return application

    def _for_client(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if not is_same_key(
                request.headers.get("Authorization", "").removeprefix("Bearer "), self._identity.api_key
            ):
                return refusal(401, "The API key is missing or wrong.")
            self._check_endpoint(request)
            return await handler(request)

        return guarded

    def _for_worker(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            worker_id = request.match_info["worker"]
            if not self._is_worker(worker_id, request.headers.get("Authorization", "")):
                log_event("worker_refused", logging.WARNING, worker_id=worker_id)
                await asyncio.sleep(_REFUSAL_HOLD_SECONDS)
                return refusal(401, "The worker's key is wrong. The one in ~/.runpod/config.toml, if any, wins.")
            self._check_endpoint(request)
            self._endpoint.jobs.hear(worker_id)
            return await handler(request)

        return guarded

    def _is_worker(self, worker_id: str, key: str) -> bool:
        """Whether a worker may speak under this id.

        A worker of the pool may with any key: runpod-python prefers the key in ~/.runpod/config.toml to the one it was
        started with, and only such a worker knows its id, which is random.
        """
        return is_same_key(key, self._identity.worker_key) or worker_id in self._worker_ids()

    def _check_endpoint(self, request: web.Request) -> None:
        if request.match_info["endpoint"] != self._identity.endpoint_id:
            name = request.match_info["endpoint"]
            raise UnknownEndpoint(f"There is no endpoint {name}; this emulator has {self._identity.endpoint_id}.")
