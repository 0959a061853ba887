"""REST v2 of pods: one method per call, every failure mapped in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from comfypod.cloud.answers import Answer
from comfypod.cloud.pods.calling import Caller
from comfypod.cloud.pods.documents import CloudPod, GPUType, PodSpec
from comfypod.errors import NoCapacity, ProtocolViolation, RequestRefused

PROVIDER = "runpod"
"""As errors and offers call it."""
_Parsed = TypeVar("_Parsed")


class PodsAPI:
    """The calls.

    All methods raise `AuthenticationFailed`, `CloudUnavailable`, `RequestRefused` and `ProtocolViolation`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def create(self, spec: PodSpec) -> CloudPod:
        """Rent a pod at the full price.

        Raises:
            OutcomeUnknown: it may have been rented. Look for its name before this is called again.
            NoCapacity: it cannot be placed; another type may be.
        """
        answer = self._caller.call("POST", "/v2/pods", spec.to_rest(), is_repeatable=False)
        # "400 … or this GPU and data center combination could not be placed: try your next candidate. 403: your account
        # cannot access the requested pool: skip this candidate" (openapi.json, createPod).
        if answer.status in {400, 403}:
            raise NoCapacity(PROVIDER, spec.gpu, _detail(answer))
        return self._read(answer, CloudPod.of_rest)

    def pods(self) -> list[CloudPod]:
        """All pods of the account, but those that were terminated."""
        return self._read(self._caller.call("GET", "/v2/pods"), lambda document: _each(document, "pods", CloudPod))

    def gpu_types(self) -> list[GPUType]:
        """All types, with prices and whether there are any."""
        path = "/v2/catalog/gpus?include=AVAILABILITY&product=POD"
        return self._read(self._caller.call("GET", path), lambda document: _each(document, "gpus", GPUType))

    def terminate(self, pod_id: str) -> None:
        """End a pod for good; one that is gone is no error."""
        answer = self._caller.call("DELETE", f"/v2/pods/{pod_id}")
        if answer.status != 404:
            self._check(answer)

    def stop(self, pod_id: str) -> None:
        """Have a pod stop running; it stays listed."""
        answer = self._caller.call("POST", f"/v2/pods/{pod_id}/action", {"action": "stop"})
        if answer.status != 409:  # it does not run
            self._check(answer)

    def _read(self, answer: Answer, parse: Callable[[Mapping[str, Any]], _Parsed]) -> _Parsed:
        self._check(answer)
        document = answer.document()
        try:
            return parse(document)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProtocolViolation("RunPod", answer.text[:200]) from error

    def _check(self, answer: Answer) -> None:
        if not 200 <= answer.status < 300:
            raise RequestRefused(self._caller.url, answer.status, _detail(answer))


def _each(document: Mapping[str, Any], name: str, kind: Any) -> list[Any]:  # noqa: ANN401 (a class with `of_rest`)
    return [kind.of_rest(item) for item in document[name]]


def _detail(answer: Answer) -> str:
    """What a problem says: its violations, else its sentence."""
    document = answer.document()
    if not isinstance(document, dict):
        return answer.text
    errors = document.get("errors")
    if isinstance(errors, list) and errors:
        return "; ".join(str(error) for error in errors)[:300]
    return str(document.get("detail") or answer.text)[:300]
