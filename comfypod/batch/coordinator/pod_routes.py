"""``/v1/pods/NAME/…``: what pods ask and tell; ``docs/reference/batch-protocol.md`` describes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import web
from pydantic import BaseModel

from comfypod.batch.coordinator.application import read_body
from comfypod.batch.coordinator.calls import POD_NAME, ByeCall, LeaseCall, RecordsCall, parsed
from comfypod.batch.coordinator.desk import Desk
from comfypod.batch.documents import Condition, Pulse, Welcome
from comfypod.errors import PodNotFound

OwnPlace = Callable[[], str]
"""The address of the coordinator's own place for results."""


class PodRoutes:
    """The interface for pods of one batch."""

    def __init__(self, desk: Desk, own_place: OwnPlace) -> None:
        self._desk = desk
        self._own_place = own_place

    def routes(self) -> Iterable[web.RouteDef]:
        """Where each of them is."""
        return [
            web.post("/v1/pods/{name}/hello", self.hello),
            web.post("/v1/pods/{name}/lease", self.lease),
            web.post("/v1/pods/{name}/records", self.records),
            web.post("/v1/pods/{name}/pulse", self.pulse),
            web.post("/v1/pods/{name}/bye", self.bye),
        ]

    async def hello(self, request: web.Request) -> web.Response:
        """A pod is there."""
        name, condition = _name(request), parsed(Condition, await read_body(request))
        desk = self._desk
        await desk.ask(desk.store.hello, desk.batch, name, condition)
        welcome = await desk.ask(desk.store.welcome, desk.batch, name)
        return _answer(self._with_place(welcome))

    async def lease(self, request: web.Request) -> web.Response:
        """A pod wants something to do."""
        name, call = _name(request), parsed(LeaseCall, await read_body(request))
        desk = self._desk
        return _answer(await desk.ask(desk.store.lease, desk.batch, name, call.items, call.present, made=call.made))

    async def records(self, request: web.Request) -> web.Response:
        """A pod tells how items ended."""
        name, call = _name(request), parsed(RecordsCall, await read_body(request))
        told = await self._desk.ask(self._desk.store.record, self._desk.batch, name, call.records)
        return web.json_response({"accepted": told.accepted, "already": told.already, "refused": told.refused})

    async def pulse(self, request: web.Request) -> web.Response:
        """A pod lives."""
        name, pulse = _name(request), parsed(Pulse, await read_body(request))
        return _answer(await self._desk.ask(self._desk.store.pulse, self._desk.batch, name, pulse))

    async def bye(self, request: web.Request) -> web.Response:
        """A pod ends by itself."""
        name, call = _name(request), parsed(ByeCall, await read_body(request))
        reason = call.reason if not call.spool_items else f"{call.reason}; {call.spool_items} results were not sent"
        await self._desk.ask(self._desk.store.bye, self._desk.batch, name, reason)
        return web.json_response({})

    def _with_place(self, welcome: Welcome) -> Welcome:
        """The coordinator's own place has the address that pods know it by."""
        if welcome.results.get("kind") != "own":
            return welcome
        return welcome.model_copy(update={"results": {**welcome.results, "kind": "http", "url": self._own_place()}})


def _name(request: web.Request) -> str:
    name = request.match_info["name"]
    if not POD_NAME.fullmatch(name):
        raise PodNotFound(name)
    return name


def _answer(document: BaseModel) -> web.Response:
    return web.Response(body=document.model_dump_json().encode(), content_type="application/json")
