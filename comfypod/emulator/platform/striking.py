"""Performs the planned faults that strike requests to the local RunPod, and has the routes that plan them."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.typedefs import Middleware

from comfypod.emulator.cutting import reset_connection
from comfypod.emulator.platform.faults import GROUPS, PlatformFault, PlatformFaults
from comfypod.emulator.platform.http import Handler, answer, lose_answer, read_body, refusal
from comfypod.emulator.platform.requests import InvalidRequest, parse_object

_LONGEST_PLAN_BYTES = 1_000_000


def faults_on_the_wire(faults: PlatformFaults) -> Middleware:
    """Return a middleware that does what is planned for a request, or has it answered as usual.

    It must be the outermost one, so that an answer that is lost is a whole one, and is asked before the key is: a
    network fails whoever calls.
    """

    @web.middleware
    async def strike(request: web.Request, handler: Handler) -> web.StreamResponse:
        route = _route_of(request)
        if route is None:
            return await handler(request)
        names = request.match_info
        struck = faults.at_request(route, job_id=names.get("job"), worker_id=names.get("worker"))
        lost: PlatformFault | None = None
        for fault, seconds in ((one.fault, one.seconds) for one in struck):
            await asyncio.sleep(seconds)
            if not fault.lets_act:
                return _instead(request, fault)
            if fault.is_after_acting:
                lost = lost or fault
                lose_answer(request)
        response = await handler(request)
        return response if lost is None else _instead(request, lost)

    return strike


def fault_routes(faults: PlatformFaults) -> dict[str, Handler]:
    """``METHOD /path`` of what shows and plans faults while the local RunPod runs, and what answers it.

    The answer to all of them is ``{"faults": [{"fault": "SPEC", "occasions": 3, "struck": 1, "spent": true}]}``.
    """

    async def show(_: web.Request) -> web.StreamResponse:
        return answer({"faults": faults.to_json()})

    async def plan(request: web.Request) -> web.StreamResponse:
        faults.add(_parse(await read_body(request, _LONGEST_PLAN_BYTES)))
        return answer({"faults": faults.to_json()})

    async def forget(_: web.Request) -> web.StreamResponse:
        faults.clear()
        return answer({"faults": faults.to_json()})

    return {"GET /emulator/faults": show, "POST /emulator/faults": plan, "DELETE /emulator/faults": forget}


def _parse(body: bytes) -> list[PlatformFault]:
    """Read ``{"faults": ["SPEC", …]}``.

    Raises:
        InvalidRequest: it is not that, or one SPEC is wrong.
    """
    specs = parse_object(body).get("faults")
    if not isinstance(specs, list) or not all(isinstance(spec, str) for spec in specs):
        raise InvalidRequest('Send {"faults": ["SPEC", …]}, each SPEC as text.')
    try:
        return [PlatformFault.parse(spec) for spec in specs]
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def _route_of(request: web.Request) -> str | None:
    """The name of a request's route, if faults know it: ``status`` of ``/v2/ENDPOINT/status/JOB``."""
    resource = request.match_info.route.resource
    parts = resource.canonical.split("/") if resource is not None else []
    if len(parts) < 4 or parts[1] != "v2":
        return None
    name = "job-take" if parts[3] == "job-take-batch" else parts[3]
    return name if name in GROUPS["any"] else None


def _instead(request: web.Request, fault: PlatformFault) -> web.StreamResponse:
    """What comes in place of the answer: another status, or the end of the connection."""
    if fault.kind == "status":
        return refusal(fault.code, f"Planned fault: {fault}.")
    reset_connection(request)
    return web.Response()  # Goes nowhere.
