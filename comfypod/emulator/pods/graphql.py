"""What GraphQL has of pods: renting on demand and for a bid, resuming, stopping, terminating, looking.

docs.runpod.io, "Manage Pods" of the GraphQL pages; spot as before May 2026. It answers 200 with ``errors``, but 400
where the document does not fit the schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from comfypod.emulator.pods.graphql_language import Field, Operation, SyntaxProblem, parse
from comfypod.emulator.pods.host import NoSuchGPU, NoSuchPod, PodHost, WrongState
from comfypod.emulator.pods.market import Full, Stock
from comfypod.emulator.pods.pod import PodOrder
from comfypod.emulator.pods.problems import HOST_FULL, NO_CAPACITY

Arguments = Mapping[str, Any]
SPOT_MUTATIONS = frozenset({"podRentInterruptable", "podBidResume"})
_INPUT_TYPES = frozenset(
    {
        "PodFindAndDeployOnDemandInput",
        "PodRentInterruptableInput",
        "PodResumeInput",
        "PodBidResumeInput",
        "PodStopInput",
        "PodTerminateInput",
        "PodFilter",
        "GpuTypeFilter",
        "String",
        "Int",
        "Float",
        "Boolean",
        "ID",
    }
)
_SCALARS = (str, int, float, bool, type(None))


class _Invalid(Exception):
    """The document does not fit the schema: HTTP 400."""


class _Refused(Exception):
    """The mutation is not done: HTTP 200 with ``errors``."""


class GraphQL:
    """Answers documents."""

    def __init__(self, host: PodHost) -> None:
        self._host = host
        self._queries: dict[str, Callable[[Arguments], Any]] = {
            "myself": self._myself,
            "pod": self._pod,
            "gpuTypes": self._gpu_types,
        }
        self._mutations: dict[str, Callable[[Arguments], Any]] = {
            "podFindAndDeployOnDemand": self._rent,
            "podRentInterruptable": self._rent_interruptible,
            "podResume": self._resume,
            "podBidResume": self._bid_resume,
            "podStop": self._stop,
            "podTerminate": self._terminate,
        }

    def answer(self, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """The status and the document that answer ``{"query", "variables"}``."""
        query, variables = body.get("query"), body.get("variables") or {}
        if not isinstance(query, str) or not isinstance(variables, dict):
            return 400, _errors("The body must be {query, variables}.", "BAD_REQUEST")
        try:
            operation = parse(query, variables)
            resolvers = self._resolvers(operation)
        except SyntaxProblem as error:
            return 400, _errors(str(error), "GRAPHQL_PARSE_FAILED")
        except _Invalid as error:
            return 400, _errors(str(error), "GRAPHQL_VALIDATION_FAILED")
        data: dict[str, Any] = {}
        try:
            for field in operation.fields:
                data[field.key] = _shown(resolvers[field.name](field.arguments), field, field.name)
        except _Invalid as error:
            return 400, _errors(str(error), "GRAPHQL_VALIDATION_FAILED")
        except _Refused as error:
            return 200, {**_errors(str(error), "RUNPOD"), "data": {field.key: None for field in operation.fields}}
        return 200, {"data": data}

    def _resolvers(self, operation: Operation) -> Mapping[str, Callable[[Arguments], Any]]:
        """What answers the fields, each of which there must be, before anything is done."""
        is_mutation = operation.kind == "mutation"
        resolvers = self._mutations if is_mutation else self._queries
        gone = SPOT_MUTATIONS if self._host.switches.spot == "gone" else frozenset()
        for field in operation.fields:
            if field.name not in resolvers or field.name in gone:
                kind = "Mutation" if is_mutation else "Query"
                raise _Invalid(f'Cannot query field "{field.name}" on type "{kind}".')
        for type_name in operation.variable_types.values():
            if type_name not in _INPUT_TYPES:
                raise _Invalid(f'Unknown type "{type_name}".')
        return resolvers

    def _myself(self, _: Arguments) -> dict[str, Any]:
        return {"id": "emulated", "pods": [pod.to_graphql() for pod in self._host.listed()]}

    def _pod(self, arguments: Arguments) -> dict[str, Any] | None:
        pod_id = _input(arguments).get("podId")
        return next((pod.to_graphql() for pod in self._host.everything() if pod.id == pod_id), None)

    def _gpu_types(self, arguments: Arguments) -> list[dict[str, Any]]:
        wanted = arguments.get("input") or {}
        stocks = self._host.market.values()
        is_spot = self._host.switches.spot == "offered"
        return [_gpu_type(stock, is_spot=is_spot) for stock in stocks if wanted.get("id") in {None, stock.gpu}]

    def _rent(self, arguments: Arguments) -> dict[str, Any]:
        return self._create(_input(arguments), None)

    def _rent_interruptible(self, arguments: Arguments) -> dict[str, Any]:
        wanted = _input(arguments)
        bid = wanted.get("bidPerGpu")
        if isinstance(bid, bool) or not isinstance(bid, int | float):
            raise _Invalid('Field "bidPerGpu" of required type "Float!" was not provided.')
        return self._create(wanted, float(bid))

    def _create(self, wanted: Mapping[str, Any], bid: float | None) -> dict[str, Any]:
        try:
            environment = {item["key"]: item["value"] for item in wanted.get("env") or []}
            order = PodOrder(
                name=wanted["name"],
                gpu=wanted["gpuTypeId"],
                image=wanted["imageName"],
                args=wanted.get("dockerArgs") or "",
                environment=environment,
                disk_gigabytes=int(wanted.get("containerDiskInGb") or 10),
                cloud=wanted.get("cloudType", "ALL"),
                bid=bid,
            )
        except (KeyError, TypeError) as error:
            raise _Invalid(f"The input is not what its type says: {error}.") from error
        try:
            return self._host.create(order).to_graphql()
        except (Full, NoSuchGPU) as error:
            raise _Refused(NO_CAPACITY) from error

    def _resume(self, arguments: Arguments) -> dict[str, Any]:
        return self._resumed(_input(arguments), None)

    def _bid_resume(self, arguments: Arguments) -> dict[str, Any]:
        wanted = _input(arguments)
        return self._resumed(wanted, float(wanted.get("bidPerGpu") or 0))

    def _resumed(self, wanted: Mapping[str, Any], bid: float | None) -> dict[str, Any]:
        try:
            pod = self._host.pod(str(wanted.get("podId")))
            self._host.resume(pod, bid)
        except Full as error:
            raise _Refused(HOST_FULL) from error
        except (NoSuchPod, WrongState) as error:
            raise _Refused("Pod not found or not stopped.") from error
        return pod.to_graphql()

    def _stop(self, arguments: Arguments) -> dict[str, Any]:
        try:
            pod = self._host.pod(str(_input(arguments).get("podId")))
            self._host.stop(pod)
        except (NoSuchPod, WrongState) as error:
            raise _Refused("Pod not found or not running.") from error
        return pod.to_graphql()

    def _terminate(self, arguments: Arguments) -> None:
        try:
            self._host.terminate(self._host.pod(str(_input(arguments).get("podId"))))
        except NoSuchPod as error:
            raise _Refused("Pod not found.") from error


def _input(arguments: Arguments) -> Mapping[str, Any]:
    wanted = arguments.get("input")
    if not isinstance(wanted, Mapping):
        raise _Invalid('Argument "input" of type "Input!" is required.')
    return wanted


def _shown(value: Any, field: Field, kind: str) -> Any:  # noqa: ANN401 (any JSON)
    """Of a document what was asked for."""
    if isinstance(value, list):
        return [_shown(item, field, kind) for item in value]
    if isinstance(value, _SCALARS):
        return value
    if not field.fields:
        raise _Invalid(f'Field "{field.name}" must have a selection of subfields.')
    found = {}
    for wanted in field.fields:
        if wanted.name not in value:
            raise _Invalid(f'Cannot query field "{wanted.name}" on type of "{kind}".')
        found[wanted.key] = _shown(value[wanted.name], wanted, wanted.name)
    return found


def _gpu_type(stock: Stock, *, is_spot: bool) -> dict[str, Any]:
    level = "None" if not stock.free else "Low" if stock.free == 1 else "High"
    return {
        "id": stock.gpu,
        "displayName": stock.gpu.removeprefix("NVIDIA "),
        "memoryInGb": stock.memory_gigabytes,
        "securePrice": stock.on_demand_dollars,
        "communityPrice": None,
        "secureSpotPrice": stock.least_bid if is_spot else None,
        "communitySpotPrice": None,
        "lowestPrice": {
            "minimumBidPrice": stock.least_bid if is_spot else None,
            "uninterruptablePrice": stock.on_demand_dollars,
            "stockStatus": level,
            "availableGpuCounts": [1] if stock.free else [],
            "minVcpu": 4,
            "minMemory": 16,
        },
    }


def _errors(message: str, code: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}
