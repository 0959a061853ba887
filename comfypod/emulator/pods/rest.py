"""REST v2: ``/v2/pods`` and the catalogue of GPUs, as ``api-reference-v2/openapi.json`` has them (August 2026)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from comfypod.emulator.platform.http import read_body
from comfypod.emulator.pods.host import NoSuchGPU, NoSuchPod, PodHost, WrongState
from comfypod.emulator.pods.market import Full, Stock
from comfypod.emulator.pods.pod import EmulatedPod, PodOrder
from comfypod.emulator.pods.problems import HOST_FULL, NO_CAPACITY, Problem

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LARGEST_BODY_BYTES = 1_000_000
_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "image": str,
    "args": str,
    "disk": int,
    "env": dict,
    "ports": list,
    "gpu": dict,
    "cpu": dict,
    "cloud": str,
    "registry": (str, type(None)),
    "mounts": dict,
    "dataCenterIds": list,
    "templateId": str,
    "startSsh": bool,
    "startJupyter": bool,
    "globalNetworking": bool,
}
_GPU_FIELDS = frozenset({"id", "count", "allowedCudaVersions", "minCudaVersion"})
_DEFAULT_DISK = 50


class RestRoutes:
    """The routes, for whoever has the account's key; a pod's own key is checked before."""

    def __init__(self, host: PodHost) -> None:
        self._host = host

    def table(self) -> dict[tuple[str, str], tuple[str, Handler]]:
        """Names, as faults know them, and handlers, by method and path."""
        return {
            ("GET", "/v2/pods"): ("list", self._list),
            ("POST", "/v2/pods"): ("create", self._create),
            ("GET", "/v2/pods/{id}"): ("get", self._get),
            ("DELETE", "/v2/pods/{id}"): ("delete", self._delete),
            ("POST", "/v2/pods/{id}/action"): ("action", self._act),
            ("GET", "/v2/catalog/gpus"): ("gpus", self._gpus),
        }

    async def _list(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"pods": [pod.to_rest() for pod in self._host.listed()]})

    async def _create(self, request: web.Request) -> web.StreamResponse:
        order = read_order(await read_json(request))
        try:
            pod = self._host.create(order)
        except NoSuchGPU as error:
            raise Problem(400, f"unknown GPU type {order.gpu!r}") from error
        except Full as error:
            raise Problem(400, NO_CAPACITY) from error
        return web.json_response(pod.to_rest(), status=201)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._pod(request).to_rest())

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        self._host.terminate(self._pod(request))
        return web.Response(status=204)

    async def _act(self, request: web.Request) -> web.StreamResponse:
        pod = self._pod(request)
        action = (await read_json(request)).get("action")
        if action == "terminate":
            self._host.terminate(pod)
            return web.Response(status=204)
        try:
            match action:
                case "stop":
                    self._host.stop(pod)
                case "start":
                    self._host.resume(pod, None)
                case "restart":
                    self._host.restart(pod)
                case _:
                    raise Problem(422, "Request validation failed.", ["$.action: must be an action of a pod"])
        except WrongState as error:
            raise Problem(409, str(error)) from error
        except Full as error:
            raise Problem(400, HOST_FULL) from error
        return web.json_response(pod.to_rest())

    async def _gpus(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"gpus": [_gpu(stock) for stock in self._host.market.values()]})

    def _pod(self, request: web.Request) -> EmulatedPod:
        try:
            return self._host.pod(request.match_info["id"])
        except NoSuchPod as error:
            raise Problem(404, "pod not found") from error


async def read_json(request: web.Request) -> dict[str, Any]:
    """The body, which must be a JSON object.

    Raises:
        Problem: it is none.
    """
    try:
        document = json.loads(await read_body(request, LARGEST_BODY_BYTES) or b"{}")
    except (ValueError, RecursionError) as error:
        raise Problem(400, "the body is no JSON") from error
    if not isinstance(document, dict):
        raise Problem(422, "Request validation failed.", ["$: must be an object"])
    return document


def read_order(body: Mapping[str, Any]) -> PodOrder:
    """What ``POST /v2/pods`` asks for.

    Raises:
        Problem: 422, it is not what the contract says, each violation named; 400, it breaks a rule across fields.
    """
    problems = [*_field_problems(body), *_gpu_problems(body.get("gpu"))]
    if problems:
        raise Problem(422, "Request validation failed.", problems)
    if ("gpu" in body) == ("cpu" in body):
        raise Problem(400, "exactly one of gpu or cpu must be set")
    if "cpu" in body or "templateId" in body or body.get("mounts") or body["gpu"].get("count", 1) != 1:
        raise Problem(400, "not emulated: CPU pods, templates, mounts and several GPUs; on RunPod they exist")
    return PodOrder(
        name=body["name"],
        gpu=body["gpu"]["id"],
        image=body["image"],
        args=body.get("args", ""),
        environment=dict(body.get("env", {})),
        disk_gigabytes=body.get("disk", _DEFAULT_DISK),
        cloud=body.get("cloud", "SECURE"),
    )


def _field_problems(body: Mapping[str, Any]) -> list[str]:
    problems = [f"$: additional properties '{name}' not allowed" for name in body if name not in _FIELDS]
    problems += [
        f"$.{name}: got {type(body[name]).__name__}, want another type"
        for name, kind in _FIELDS.items()
        if name in body and (not isinstance(body[name], kind) or (kind is int and isinstance(body[name], bool)))
    ]
    required = {"name": body.get("name"), "image": body.get("image") or body.get("templateId")}
    problems += [f"$: missing property '{name}'" for name, value in required.items() if not value]
    if isinstance(body.get("disk"), int) and body["disk"] < 1:
        problems.append("$.disk: minimum: got less, want 1")
    if body.get("cloud", "SECURE") not in {"SECURE", "COMMUNITY"}:
        problems.append("$.cloud: value must be one of 'SECURE', 'COMMUNITY'")
    if isinstance(body.get("env"), dict) and not all(isinstance(value, str) for value in body["env"].values()):
        problems.append("$.env: values must be strings")
    return problems


def _gpu_problems(gpu: object) -> list[str]:
    if not isinstance(gpu, dict):
        return []
    problems = [f"$.gpu: additional properties '{name}' not allowed" for name in gpu if name not in _GPU_FIELDS]
    return problems if isinstance(gpu.get("id"), str) else [*problems, "$.gpu: missing property 'id'"]


def _gpu(stock: Stock) -> dict[str, Any]:
    level = "NONE" if not stock.free else "LOW" if stock.free == 1 else "HIGH"
    return {
        "id": stock.gpu,
        "name": stock.gpu.removeprefix("NVIDIA ").removeprefix("GeForce "),
        "pool": None,
        "manufacturer": "NVIDIA",
        "memory": stock.memory_gigabytes,
        "secure": True,
        "community": False,
        "price": {"secure": stock.on_demand_dollars, "community": 0.0},
        "maxCount": {"secure": 1, "community": 0},
        "availability": level,
    }
