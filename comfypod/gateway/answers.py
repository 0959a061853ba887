"""Answers in JSON, and which HTTP status each error is: those of the Comfy API v2."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from comfypod.errors import (
    AssetInUse,
    BlobNotFound,
    ComfyPodError,
    DeadLetterNotFound,
    DeadlineExceeded,
    DeploymentNotReady,
    GatewayError,
    HashMismatch,
    IdempotencyKeyReused,
    InputError,
    InvalidCursor,
    InvalidMetadataFilter,
    InvalidRequest,
    KeyUsed,
    NothingFound,
    NotReplayable,
    OutputUnavailable,
    PayloadTooLarge,
    QueueFull,
    QuotaExceeded,
    RangeNotSatisfiable,
    RequestNotFound,
    RequestQuarantined,
    StoreOutdated,
    StoreUnavailable,
    TooManyStreams,
    Unauthorized,
    UploadFailed,
    UploadRefused,
)
from comfypod.schema.wire import json_safe

# The first that fits counts. The codes are the errors' own, unless the contract has another name for them.
_ANSWERS: tuple[tuple[type[ComfyPodError], int, str | None], ...] = (
    (Unauthorized, 401, None),
    (InvalidCursor, 400, None),
    (InvalidMetadataFilter, 400, None),
    (NothingFound, 404, None),
    (BlobNotFound, 404, None),
    (OutputUnavailable, 404, None),
    (RequestNotFound, 404, "not_found"),
    (DeadLetterNotFound, 404, "not_found"),
    (HashMismatch, 409, None),
    (AssetInUse, 409, None),
    (NotReplayable, 409, None),
    (PayloadTooLarge, 413, None),
    (RangeNotSatisfiable, 416, None),
    (IdempotencyKeyReused, 422, "idempotency_key_reuse"),
    (KeyUsed, 422, None),
    (RequestQuarantined, 422, None),
    (InvalidRequest, 422, None),
    (InputError, 422, None),
    (QueueFull, 429, None),
    (QuotaExceeded, 429, "rate_limited"),
    (DeploymentNotReady, 429, None),
    (TooManyStreams, 429, None),
    (GatewayError, 422, None),
    (DeadlineExceeded, 408, None),
    (UploadRefused, 502, "upstream_error"),
    (UploadFailed, 502, "upstream_error"),
    (StoreOutdated, 503, "upstream_unreachable"),
    (StoreUnavailable, 503, "upstream_unreachable"),
    (ComfyPodError, 500, "upstream_error"),
)
_SENTENCES = {404: "There is nothing at this address", 405: "This address does not take such a request"}
INTERNAL = "The gateway failed at this; its log says at what"
_AWAY = "What the gateway needs to answer this does not answer itself; try again later"


def json_text(document: Any) -> str:  # noqa: ANN401 (any JSON)
    """One line of strict JSON."""
    return json.dumps(json_safe(document), allow_nan=False, separators=(",", ":"))


def json_answer(document: Any, status: int = 200) -> web.Response:  # noqa: ANN401 (any JSON)
    """A document as an answer."""
    return web.Response(text=json_text(document), status=status, content_type="application/json")


def refusal(status: int, code: str, message: str, details: Mapping[str, Any] | None = None) -> web.Response:
    """What every refusal looks like: ``{"error": {"code", "message", "details"}}``."""
    return json_answer({"error": {"code": code, "message": message, "details": dict(details or {})}}, status)


def error_answer(error: ComfyPodError) -> web.Response:
    """An error as an answer. What is broken behind the gateway is not told; the log has it."""
    status, code = status_of(error)
    if status >= 500:
        return refusal(status, code, _AWAY)
    answer = refusal(status, code, str(error), _details(error))
    if status == 429:
        answer.headers["Retry-After"] = str(max(1, math.ceil(getattr(error, "retry_after_seconds", 1.0))))
    if status == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="comfypod"'
    if isinstance(error, RangeNotSatisfiable):
        answer.headers["Content-Range"] = f"bytes */{error.size_bytes}"
    return answer


def status_of(error: ComfyPodError) -> tuple[int, str]:
    """The HTTP status and the code of an error."""
    return next((status, code or error.code) for kind, status, code in _ANSWERS if isinstance(error, kind))


def http_refusal(error: web.HTTPException) -> web.Response:
    """What the library itself refuses: no such route, no such method."""
    code = "not_found" if error.status == 404 else "invalid_request"
    answer = refusal(error.status, code, _SENTENCES.get(error.status, error.reason))
    if isinstance(error, web.HTTPMethodNotAllowed):
        answer.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
    return answer


def _details(error: ComfyPodError) -> dict[str, Any]:
    """The facts; of a workflow's node also as the contract has them."""
    details = error.details()
    node_id = details.get("node_id")
    if error.code == "invalid_workflow" and node_id is not None:
        details["node_errors"] = {str(node_id): [{"reason": str(error)}]}
    return details
