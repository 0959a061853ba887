"""Performs the faults that strike connections: HTTP requests, and websocket messages on their way out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from aiohttp import web

from comfypod.emulator.cutting import reset_connection
from comfypod.emulator.engine.http import Handler, read_object
from comfypod.emulator.engine.validation import RequestCrashError
from comfypod.emulator.faults import Fault, FaultPlan

CONTROL_PATH = "/emulator/faults"

Message = TypeVar("Message")


class RequestFaults:
    """The faults that strike requests. Those that control the faults are spared."""

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan

    @web.middleware
    async def at_request(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Do what is planned for a request, or have it answered as usual."""
        if request.path == CONTROL_PATH:
            return await handler(request)
        struck = self._plan.at_request(request.method, request.path)
        await asyncio.sleep(sum(fault.seconds for fault in struck))
        faults = {fault.kind: fault for fault in struck}
        if "refuse" in faults:
            reset_connection(request)
            return web.Response()  # Goes nowhere.
        if respond := faults.get("respond"):
            return web.Response(status=respond.status)
        try:
            return await handler(request)
        finally:
            if "lost_response" in faults:
                reset_connection(request)


class MessageFaults(Generic[Message]):
    """The faults that strike messages, in the one coroutine that sends them all."""

    def __init__(self, plan: FaultPlan, cut: Callable[[], None]) -> None:
        """Prepare to strike; ``cut`` ends all websockets without a close frame."""
        self._plan = plan
        self._cut = cut
        self._held: list[Message] = []

    async def at_message(self, message_type: str, message: Message) -> list[Message]:
        """Return what is to be sent now, in this order, in place of a message."""
        faults = self._plan.at_message(message_type)
        if not faults and not self._held:
            return [message]
        await asyncio.sleep(sum(fault.seconds for fault in faults))
        kinds = {fault.kind for fault in faults}
        if "cut" in kinds:
            self._cut()
        copies = [] if "drop" in kinds else [message] * (2 if "duplicate" in kinds else 1)
        held, self._held = self._held, []
        if "reorder" in kinds:
            self._held = [*copies, *held]
            return []
        return [*copies, *held]


class FaultRoutes:
    """The routes that plan faults while the engine runs."""

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get(CONTROL_PATH, self.show, allow_head=False),
            web.post(CONTROL_PATH, self.plan),
            web.delete(CONTROL_PATH, self.forget),
        ]

    async def show(self, _request: web.Request) -> web.Response:
        """Show every planned fault, how many occasions it met and how often it struck."""
        return self._answer()

    async def plan(self, request: web.Request) -> web.Response:
        """Plan ``{"faults": ["SPEC", …]}``, all or none of them; 400 says what is wrong with one."""
        try:
            self._plan.add(_parse(await read_object(request)))
        except (ValueError, RequestCrashError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return self._answer()

    async def forget(self, _request: web.Request) -> web.Response:
        """Forget every fault; what has struck stays as it is."""
        self._plan.clear()
        return self._answer()

    def _answer(self) -> web.Response:
        return web.json_response({"faults": self._plan.to_json()})


def _parse(document: dict[str, object]) -> list[Fault]:
    specs = document.get("faults")
    if not isinstance(specs, list) or not all(isinstance(spec, str) for spec in specs):
        raise ValueError('Send {"faults": ["SPEC", …]}, each SPEC as text.')
    return [Fault.parse(spec) for spec in specs]
