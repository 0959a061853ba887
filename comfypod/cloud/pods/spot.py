"""GraphQL of pods: interruptible ones, as long as the platform has them, and why pods ended.

REST v2 has neither. runpodctl's maintainers said in April 2026 that ``podRentInterruptable`` is being removed; GraphQL
as a whole is to be retired early in 2027 (docs.runpod.io, release notes). Values go as variables, never into the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfypod.cloud.pods.api import PROVIDER
from comfypod.cloud.pods.calling import Caller
from comfypod.cloud.pods.documents import EndReason, PodSpec, end_reason, is_about_money, is_unknown_field, spot_prices
from comfypod.errors import NoCapacity, ProtocolViolation, RequestRefused

_RENT = """mutation Rent($input: PodRentInterruptableInput!) { podRentInterruptable(input: $input) { id } }"""
_RESUME = """mutation Resume($input: PodBidResumeInput!) { podBidResume(input: $input) { id desiredStatus } }"""
_PRICES = "query { gpuTypes { id lowestPrice(input: {gpuCount: 1, secureCloud: true}) { minimumBidPrice } } }"
_ENDS = "query { myself { pods { id desiredStatus lastStatusChange } } }"
NOT_OFFERED = "it does not rent out interruptible pods any more"


class SpotNotOffered(Exception):
    """The platform has no interruptible pods any more; at the full price it may have some."""


class SpotAPI:
    """The calls. All raise `AuthenticationFailed`, `CloudUnavailable`, `RequestRefused` and `ProtocolViolation`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def rent(self, spec: PodSpec, bid_dollars_per_hour: float) -> str:
        """Rent an interruptible pod; its id.

        Raises:
            SpotNotOffered: there are none.
            OutcomeUnknown: it may have been rented. Look for its name before this is called again.
            NoCapacity: there is none of this type for this bid.
        """
        variables = {"input": spec.to_graphql(bid_dollars_per_hour)}
        return self._renting("podRentInterruptable", _RENT, variables, spec.gpu)

    def resume(self, pod_id: str, gpu: str, bid_dollars_per_hour: float) -> None:
        """Have a pod back that was outbid, on its host, for another bid.

        Raises:
            SpotNotOffered, OutcomeUnknown, NoCapacity: as `rent`.
        """
        wanted = {"podId": pod_id, "bidPerGpu": bid_dollars_per_hour, "gpuCount": 1}
        self._renting("podBidResume", _RESUME, {"input": wanted}, gpu)

    def least_bids(self) -> dict[str, float]:
        """The least bid that each type is rented out for now, by its id; empty: it has no interruptible pods."""
        data, messages = self._ask(_PRICES, {})
        if any(is_unknown_field(message, name) for message in messages for name in ("lowestPrice", "minimumBidPrice")):
            return {}
        self._refuse(messages)
        return spot_prices(data)

    def end_reasons(self) -> dict[str, EndReason]:
        """Why pods of the account do not run, by their ids."""
        data, messages = self._ask(_ENDS, {})
        self._refuse(messages)
        pods = (data.get("myself") or {}).get("pods") or []
        return {
            str(pod["id"]): end_reason(str(pod["desiredStatus"]), pod.get("lastStatusChange"))
            for pod in pods
            if pod.get("desiredStatus") != "RUNNING"
        }

    def _renting(self, field: str, query: str, variables: Mapping[str, Any], gpu: str) -> str:
        data, messages = self._ask(query, variables, is_repeatable=False)
        text = " ".join(messages)
        if is_unknown_field(text, field):
            raise SpotNotOffered
        if messages and is_about_money(text):
            self._refuse(messages)
        if messages or not isinstance(data.get(field), dict):
            raise NoCapacity(PROVIDER, gpu, text or "RunPod gave no reason")
        return str(data[field].get("id", ""))

    def _ask(
        self, query: str, variables: Mapping[str, Any], *, is_repeatable: bool = True
    ) -> tuple[Mapping[str, Any], list[str]]:
        """The data, and the messages of the errors: GraphQL answers 200 with them, or 400."""
        body = {"query": query, "variables": variables}
        answer = self._caller.call("POST", "/graphql", body, is_repeatable=is_repeatable)
        document = answer.document()
        if not isinstance(document, dict):
            if answer.status != 200:
                raise RequestRefused(self._caller.url, answer.status, answer.text)
            raise ProtocolViolation("RunPod", answer.text[:200])
        errors = document.get("errors") or []
        messages = [
            str(error.get("message", error))[:300] if isinstance(error, dict) else str(error) for error in errors
        ]
        if answer.status != 200 and not messages:
            messages = [answer.text]
        return document.get("data") or {}, messages

    def _refuse(self, messages: list[str]) -> None:
        if messages:
            raise RequestRefused(self._caller.url, 200, " ".join(messages))
