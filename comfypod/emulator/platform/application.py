"""The emulated RunPod as a web application: its routes, and who may use them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Middleware

from comfypod.emulator.events import log_event
from comfypod.emulator.platform.client_routes import ClientRoutes
from comfypod.emulator.platform.endpoint import EmulatedEndpoint
from comfypod.emulator.platform.http import Handler, UnknownEndpoint, answer, errors_as_json, is_same_key, refusal
from comfypod.emulator.platform.job import Document
from comfypod.emulator.platform.striking import fault_routes, faults_on_the_wire
from comfypod.emulator.platform.worker_routes import WorkerRoutes

_ENDPOINT = "/v2/{endpoint}"
# A refused worker polls again at once; holding its answer keeps it from doing so thousands of times a second.
_REFUSAL_HOLD_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Which endpoint it is, and the keys of its clients and of its workers."""

    endpoint_id: str
    api_key: str
    worker_key: str


class PlatformApplication:
    """The routes of one endpoint, and of the emulator itself.

    ``worker_states`` tells which worker processes there are, and how they are. ``replace`` ends one of them and has
    another started; it tells whether it could. ``overview`` is the answer of GET /emulator/state; without it, the
    endpoint's own. ``middlewares`` see every request before anything else does.
    """

    def __init__(
        self,
        endpoint: EmulatedEndpoint,
        identity: Identity,
        worker_states: Callable[[], Mapping[str, str]],
        replace: Callable[[str], bool],
        overview: Callable[[], Document] | None = None,
        *,
        middlewares: Sequence[Middleware] = (),
    ) -> None:
        self._endpoint = endpoint
        self._identity = identity
        self._worker_states = worker_states
        self._replace = replace
        self._overview = overview or endpoint.overview
        self._middlewares = middlewares

    def build(self) -> web.Application:
        """The application, to be served; the endpoint lives as long as it does."""
        inner = [faults_on_the_wire(self._endpoint.faults), errors_as_json]
        application = web.Application(middlewares=[*self._middlewares, *inner])
        application.cleanup_ctx.append(self._endpoint.lifetime)
        for prefix, routes, guard in (
            (_ENDPOINT, ClientRoutes(self._endpoint, self._worker_states).table(), self._for_client),
            (_ENDPOINT, WorkerRoutes(self._endpoint, self._replace).table(), self._for_worker),
            ("", self._emulator_routes(), self._for_client),
        ):
            for route, handler in routes.items():
                method, path = route.split(" ", 1)
                application.router.add_route(method, prefix + path, guard(handler))
        return application

    def _emulator_routes(self) -> dict[str, Handler]:
        """What RunPod does not have; outside /v2, where no endpoint can be of that name."""

        async def state(_: web.Request) -> web.StreamResponse:
            return answer(self._overview())

        faults = fault_routes(self._endpoint.faults) if self._endpoint.options.accept_faults else {}
        return {"GET /emulator/state": state, **faults}

    def _for_client(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if not is_same_key(
                request.headers.get("Authorization", "").removeprefix("Bearer "), self._identity.api_key
            ):
                return refusal(401, "The API key is missing or wrong.")
            self._check_endpoint(request)
            return self._kept(await handler(request))

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
            return self._kept(await handler(request))

        return guarded

    def _kept(self, response: web.StreamResponse) -> web.StreamResponse:
        """The answer, unless what it says could not be kept: nobody may be told what a restart would undo."""
        failure = self._endpoint.state_failure
        return response if failure is None or response.prepared else refusal(500, failure)

    def _is_worker(self, worker_id: str, key: str) -> bool:
        """Whether a worker may speak under this id.

        A worker of the pool may with any key: runpod-python prefers the key in ~/.runpod/config.toml to the one it was
        started with, and only such a worker knows its id, which is random.
        """
        return is_same_key(key, self._identity.worker_key) or worker_id in self._worker_states()

    def _check_endpoint(self, request: web.Request) -> None:
        name = request.match_info.get("endpoint", self._identity.endpoint_id)
        if name != self._identity.endpoint_id:
            raise UnknownEndpoint(f"There is no endpoint {name}; this emulator has {self._identity.endpoint_id}.")
