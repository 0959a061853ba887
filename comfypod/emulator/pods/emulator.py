"""The emulated pod API, served: both interfaces, who may use them, faults, and switches for whoever tests with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Self

from aiohttp import web

from comfypod.emulator.cutting import reset_connection
from comfypod.emulator.events import log_event
from comfypod.emulator.platform.http import BrokenBody, is_same_key, reachable_url
from comfypod.emulator.platform.requests import InvalidRequest
from comfypod.emulator.pods.faults import PodFault, PodFaults
from comfypod.emulator.pods.graphql import GraphQL
from comfypod.emulator.pods.host import HostOptions, NoSuchGPU, PodHost, WrongState
from comfypod.emulator.pods.market import Full
from comfypod.emulator.pods.problems import Problem, problem_response
from comfypod.emulator.pods.rest import Handler, RestRoutes, read_json

_OWN_ROUTES = frozenset({"get", "delete", "action"})
"""What a pod's own key may be good for, on itself."""


class PodsEmulator:
    """The pods of one account on a port of this machine. An asynchronous context manager; or `start`, and `stop`."""

    def __init__(
        self, api_key: str = "local", options: HostOptions | None = None, faults: Iterable[PodFault] = ()
    ) -> None:
        self.api_key = api_key
        self.faults = PodFaults(faults)
        self.host = PodHost(options or HostOptions(), self.faults, lambda: self.url)
        self._graphql = GraphQL(self.host)
        self._runner: web.AppRunner | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """``http://HOST:PORT``, what a client has for ``https://api.runpod.io``.

        Raises:
            RuntimeError: `start` has not been called.
        """
        if not self._url:
            raise RuntimeError("The emulator of pods has no address before it is started.")
        return self._url

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen. Port 0 means any free port.

        Raises:
            OSError: the port is taken.
        """
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._runner = runner
        try:
            await web.TCPSite(runner, host, port).start()
        except BaseException:
            await self.stop()
            raise
        self._url = reachable_url(*runner.addresses[0][:2]).removesuffix("/v2")

    async def stop(self) -> None:
        """End all pods, and close the port. May be called twice."""
        await self.host.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application()
        for (method, path), (name, handler) in RestRoutes(self.host).table().items():
            application.router.add_route(method, path, self._served(name, handler))
        application.router.add_post("/graphql", self._served("graphql", self._answer_graphql))
        for path, handler in {
            "/emulator/faults": self._plan_faults,
            "/emulator/switches": self._switch,
            "/emulator/market": self._change_market,
            "/emulator/rivals": self._bid,
            "/emulator/pods/{id}": self._strike_pod,
        }.items():
            application.router.add_post(path, self._served(None, handler))
        application.router.add_get("/emulator/state", self._served(None, self._show))
        application.router.add_delete("/emulator/faults", self._served(None, self._forget_faults))
        return application

    def _served(self, name: str | None, handler: Handler) -> Handler:
        """The handler with what is around all: faults, first, since a network fails whoever calls; keys; refusals."""

        async def serve(request: web.Request) -> web.StreamResponse:
            struck = self.faults.at_request(name) if name else []
            for fault in struck:
                log_event("fault_strikes", logging.WARNING, fault=str(fault))
                await asyncio.sleep(fault.seconds)
            failing = [fault for fault in struck if fault.kind != "latency"]
            before = next((fault for fault in failing if not fault.is_after_acting), None)
            if before is not None:
                return _instead(request, before)
            response = await self._guarded(request, name, handler)
            return _instead(request, failing[0]) if failing else response

        return serve

    async def _guarded(self, request: web.Request, name: str | None, handler: Handler) -> web.StreamResponse:
        try:
            self._check_key(request, name)
            return await handler(request)
        except Problem as error:
            return problem_response(error.status, error.detail, error.errors)
        except (BrokenBody, InvalidRequest) as error:
            return problem_response(400, str(error))

    def _check_key(self, request: web.Request, name: str | None) -> None:
        header = request.headers.get("Authorization", "")
        key = header.removeprefix("Bearer ")
        if name == "graphql" and not header:
            key = request.query.get("api_key", "")
        if is_same_key(key, self.api_key) and (header.startswith("Bearer ") or name == "graphql"):
            return
        pod = self.host.by_key(key) if header.startswith("Bearer pod-") else None
        if pod is None:
            raise Problem(401, "missing bearer token" if not header else "invalid bearer token")
        allowed = {"terminates": _OWN_ROUTES, "stops": {"get", "action"}, "nothing": frozenset[str]()}
        is_own = request.match_info.get("id") == pod.id
        if not is_own or name not in allowed[self.host.switches.pod_key]:
            raise Problem(403, "access denied")

    async def _answer_graphql(self, request: web.Request) -> web.StreamResponse:
        status, document = self._graphql.answer(await read_json(request))
        return web.json_response(document, status=status)

    # What RunPod does not have; outside of its addresses.

    async def _show(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"emulated": True, "images_ignored": True, **self.host.overview()})

    async def _plan_faults(self, request: web.Request) -> web.StreamResponse:
        try:
            self.faults.add((await read_json(request)).get("faults", []))
        except ValueError as error:
            raise Problem(400, str(error)) from error
        return web.json_response({"faults": self.faults.to_json()})

    async def _forget_faults(self, _: web.Request) -> web.StreamResponse:
        self.faults.clear()
        return web.json_response({"faults": []})

    async def _switch(self, request: web.Request) -> web.StreamResponse:
        """``{"spot": "gone"}``."""
        settings = [f"{name}={value}" for name, value in (await read_json(request)).items()]
        try:
            self.host.switches = self.host.switches.changed(settings)
        except ValueError as error:
            raise Problem(400, str(error)) from error
        return web.json_response({name: getattr(self.host.switches, name) for name in self.host.switches.choices()})

    async def _change_market(self, request: web.Request) -> web.StreamResponse:
        """``{"gpu", "capacity", "on_demand_dollars", "minimum_bid_dollars"}``; what is left out stays."""
        changes = await read_json(request)
        try:
            stock = self.host.stock(str(changes.pop("gpu", "")))
            self.host.market[stock.gpu] = replace(stock, **_numbers(changes))
        except (NoSuchGPU, TypeError) as error:
            raise Problem(400, f"no such type or figure: {error}") from error
        return await self._show(request)

    async def _bid(self, request: web.Request) -> web.StreamResponse:
        """``{"gpu", "bid"}``: another user bids for one; who of ours loses theirs is answered, or null."""
        wanted = await read_json(request)
        try:
            loser = self.host.rival(str(wanted.get("gpu")), float(wanted.get("bid", 0)))
        except (NoSuchGPU, Full) as error:
            raise Problem(409, "they do not get one") from error
        return web.json_response({"outbid": loser})

    async def _strike_pod(self, request: web.Request) -> web.StreamResponse:
        """``{"event": "outbid" | "kill" | "lose_machine"}``, to a pod by its id or name."""
        wanted, event = request.match_info["id"], (await read_json(request)).get("event")
        pod = next((pod for pod in self.host.listed() if wanted in {pod.id, pod.order.name}), None)
        if pod is None:
            raise Problem(404, "pod not found")
        events: dict[Any, Any] = {
            "outbid": self.host.outbid,
            "kill": self.host.kill,
            "lose_machine": self.host.lose_machine,
        }
        if event not in events:
            raise Problem(400, f"event must be one of {', '.join(events)}")
        try:
            events[event](pod)
        except WrongState as error:
            raise Problem(409, str(error)) from error
        return web.json_response(pod.to_rest())


def _numbers(changes: dict[str, Any]) -> dict[str, Any]:
    numbers = {"capacity", "on_demand_dollars", "minimum_bid_dollars"}
    if not changes.keys() <= numbers or not all(isinstance(value, int | float) for value in changes.values()):
        raise TypeError(", ".join(changes))
    return changes


def _instead(request: web.Request, fault: PodFault) -> web.StreamResponse:
    if fault.kind == "status":
        return problem_response(fault.code, f"Planned fault: {fault}.")
    reset_connection(request)
    return web.Response()  # goes nowhere
