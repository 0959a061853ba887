"""Answers in JSON, and which HTTP status each error is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from comfypod.errors import (
    BadRequest,
    CloudError,
    ComfyPodError,
    DeadlineExceeded,
    FileNotFound,
    ForeignRequest,
    InputError,
    NothingThere,
    RunNotEnded,
    RunNotFound,
    SavingFailed,
    SignInRequired,
    TooLarge,
    TooMany,
    TooManyRuns,
    UnknownHost,
    UnsupportedContent,
    WrongToken,
)
from comfypod.schema.wire import json_safe

# The first that fits counts.
_STATUSES: tuple[tuple[type[ComfyPodError], int], ...] = (
    (NothingThere, 404),
    (RunNotFound, 404),
    (FileNotFound, 404),
    (RunNotEnded, 409),
    (UnsupportedContent, 415),
    (BadRequest, 400),
    (InputError, 400),
    (SignInRequired, 401),
    (WrongToken, 401),
    (ForeignRequest, 403),
    (TooLarge, 413),
    (UnknownHost, 421),
    (TooMany, 429),
    (TooManyRuns, 429),
    (DeadlineExceeded, 504),
    (SavingFailed, 507),
    (CloudError, 502),
    (ComfyPodError, 500),
)
_SOON_SECONDS = 5.0
"""When to ask again, where nobody knows when a run will end."""


def json_text(document: Any) -> str:  # noqa: ANN401 (any JSON)
    """One line of strict JSON."""
    return json.dumps(json_safe(document), allow_nan=False, separators=(",", ":"))


def json_answer(document: Any, status: int = 200) -> web.Response:  # noqa: ANN401 (any JSON)
    """A document as an answer."""
    return web.Response(text=json_text(document), status=status, content_type="application/json")


def error_answer(error: ComfyPodError) -> web.Response:
    """An error as an answer, ``{"error": {"code", "message", "details"}}``."""
    status = next(status for kind, status in _STATUSES if isinstance(error, kind))
    answer = error_document(error.code, str(error), error.details())
    response = json_answer(answer, status)
    if status == 429:
        seconds = error.retry_after_seconds if isinstance(error, TooMany) else _SOON_SECONDS
        response.headers["Retry-After"] = str(math.ceil(seconds))
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="comfypod"'
    return response


def error_document(code: str, message: str, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What every refusal looks like."""
    return {"error": {"code": code, "message": message, "details": dict(details or {})}}
