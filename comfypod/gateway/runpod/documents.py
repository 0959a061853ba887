"""Requests as RunPod shows its jobs, and RunPod's job submissions as requests. Pure.

What RunPod's clients send and read is described in docs.runpod.io, serverless/endpoints/operation-reference.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from comfypod.errors import MalformedCall
from comfypod.master.documents import Preview, Request
from comfypod.master.fairness import Priority
from comfypod.master.states import CANCELLED, FAILED, QUEUED, RUNNING, SUBMITTED, SUBMITTING, SUCCEEDED, WAITING, State
from comfypod.schema.job import idempotency_key_of
from comfypod.schema.wire import as_object
from comfypod.storage.commits.documents import with_addresses

_STATES = {RUNNING: "IN_PROGRESS", SUCCEEDED: "COMPLETED", FAILED: "FAILED", CANCELLED: "CANCELLED"}
_IN_QUEUE: tuple[State, ...] = (QUEUED, SUBMITTING, SUBMITTED, WAITING)
_OURS = ("idempotency_key", "once")
"""The master's own fields of a job's input."""

Address = Callable[[str], tuple[str, datetime | None]]
"""Makes an address of a key in the bucket."""


@dataclass(frozen=True, slots=True)
class RunCall:
    """The body of ``/run`` and ``/runsync``, checked."""

    job_input: dict[str, Any] = field(repr=False)
    idempotency_key: str | None
    priority: Priority
    timeout_seconds: float | None
    webhook: str | None = field(repr=False)

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> RunCall:
        """Check a body. What is wrong inside the input, the worker tells.

        Raises:
            MalformedCall: there is no input, or the results are to go elsewhere.
        """
        job_input, policy = body.get("input"), as_object(body.get("policy"))
        if not isinstance(job_input, dict) or not job_input:
            raise MalformedCall('The body must be {"input": {…}}, and the input must not be empty')
        if body.get("s3Config"):
            raise MalformedCall("s3Config: results go to the gateway's own bucket; leave it out")
        is_low = policy.get("lowPriority") is True
        # To say what can be set in a workflow takes no time on the GPU, and somebody waits at a form.
        is_high = job_input.get("describe") is True
        return cls(
            job_input={name: value for name, value in job_input.items() if name not in _OURS},
            idempotency_key=idempotency_key_of(job_input),
            priority="high" if is_high else "low" if is_low else "normal",
            timeout_seconds=_seconds(policy.get("executionTimeout")),
            webhook=_text(body.get("webhook")),
        )


def status_document(request: Request, address: Address, preview: Preview | None = None) -> dict[str, Any]:
    """What ``/status`` answers; ``preview`` is the newest one, of a request that runs."""
    document: dict[str, Any] = {
        "id": request.key,
        "status": _status(request),
        "delayTime": request.timings.get("delay_ms"),
        "executionTime": request.timings.get("run_ms"),
        "workerId": request.worker_id,
        "retries": max(0, request.attempt - 1) or None,
        **_result(request, address, preview),
    }
    return {name: value for name, value in document.items() if value is not None}


def listed_document(request: Request) -> dict[str, Any]:
    """A job in the list of ``/requests``; its key stands where clients look for it."""
    key = _sent_key(request)
    return {
        "id": request.key,
        "status": _status(request),
        "input": {} if key is None else {"idempotency_key": key},
    }


def health_document(counts: Mapping[State, int], masters: int) -> dict[str, Any]:
    """What ``/health`` answers. The fleet is the master's affair: its workers are as many as run something."""
    running = counts.get(RUNNING, 0)
    is_idle = masters > 0 and running == 0
    return {
        "jobs": {
            "completed": counts.get(SUCCEEDED, 0),
            "failed": counts.get(FAILED, 0),
            "inProgress": running,
            "inQueue": sum(counts.get(state, 0) for state in _IN_QUEUE),
            "retried": 0,
        },
        "workers": {
            "idle": int(is_idle),
            "initializing": 0,
            "ready": int(is_idle),
            "running": running,
            "throttled": 0,
            "unhealthy": 0,
        },
    }


def key_name(key: str) -> str:
    """What the store knows a request by that came with a key of RunPod's clients."""
    return f"runpod:{key}"


def _status(request: Request) -> str:
    """RunPod says of a job that is to be cancelled that it is, also while it still runs."""
    is_cancelled = request.cancel_requested_at is not None and not request.is_ended
    return "CANCELLED" if is_cancelled else _STATES.get(request.state, "IN_QUEUE")


def _sent_key(request: Request) -> str | None:
    name = request.idempotency_key
    return name.removeprefix("runpod:") if name.startswith("runpod:") else None


def _result(request: Request, address: Address, preview: Preview | None) -> dict[str, Any]:
    key = _sent_key(request)
    named = {} if key is None else {"idempotency_key": key}
    if request.state == SUCCEEDED:
        return {"output": {**with_addresses(request.output or {}, address), **named}}
    if request.state == FAILED:
        return _failure(request.error or {}, named)
    if request.state == RUNNING and request.progress is not None:
        return {"output": {**request.progress, **_preview(request, preview)}}
    return {}


def _preview(request: Request, preview: Preview | None) -> dict[str, Any]:
    if preview is None:
        return {}
    shown = {
        "node_id": (request.progress or {}).get("current_node"),
        "content_type": preview.content_type,
        "data_base64": base64.b64encode(preview.data).decode(),
    }
    return {"preview": shown}


def _failure(error: Mapping[str, Any], named: Mapping[str, str]) -> dict[str, Any]:
    """As a worker answers; see "Output of a job that failed" in docs/reference/job.md."""
    message = str(error.get("message") or "The job failed")
    told = {name: error[name] for name in ("code", "retryable", "details") if error.get(name) is not None}
    status = "timeout" if error.get("code") == "deadline_exceeded" else "error"
    empty: dict[str, list[Any]] = {"images": [], "files": [], "texts": [], "warnings": []}
    return {"error": message, "output": {"error": message, "status": status, **told, **empty, **named}}


def _seconds(milliseconds: object) -> float | None:
    is_number = isinstance(milliseconds, int | float) and not isinstance(milliseconds, bool) and milliseconds > 0
    return milliseconds / 1000 if is_number else None  # type: ignore[operator]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
