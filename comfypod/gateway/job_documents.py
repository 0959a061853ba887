"""A request as the Comfy API v2 shows it. Pure.

Fields and states are those of the contract (github.com/Comfy-Org/comfy-python-sdk, spec/openapi.yaml, version 2.0.0).
The SDK refuses a job without one of its required fields, a fraction above 1, and a metric that is no whole number.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from comfypod.gateway.links import Links
from comfypod.gateway.outputs import Output, outputs_of
from comfypod.master.documents import Request
from comfypod.master.states import CANCELLED, FAILED, RUNNING, SUCCEEDED
from comfypod.schema.wire import as_object

_STATUSES = {RUNNING: "running", SUCCEEDED: "succeeded", FAILED: "failed", CANCELLED: "canceled"}
_ERROR_CODES = {"prompt_failed": "node_execution_error"}
"""Where the contract has a code of its own; all others are ours."""
_PROGRESS_TEXTS = ("current_node", "current_node_class", "message")


def job_document(request: Request, position: int | None, links: Links) -> dict[str, Any]:
    """The whole job; ``position`` is its place in the queue, 0 the next."""
    return {
        "id": request.key,
        "status": status_of(request),
        "created_at": moment(request.created_at),
        "started_at": moment(request.started_at),
        "completed_at": moment(request.ended_at),
        "expires_at": moment(links.expiry(request.created_at)),
        "queue_position": position,
        "progress": progress_document(request),
        "outputs": [output_document(output, request, links) for output in outputs_of(request)],
        "error": _error(request),
        "metrics": _metrics(request),
        "metadata": request.labels,
        "urls": {
            "self": links.job(request.key),
            "events": links.job(request.key, "/events"),
            "cancel": links.job(request.key, "/cancel"),
        },
    }


def list_item(request: Request) -> dict[str, Any]:
    """A job in a list."""
    changed_at = request.ended_at or request.started_at or request.created_at
    return {
        "id": request.key,
        "status": status_of(request),
        "create_time": moment(request.created_at),
        "update_time": moment(changed_at),
        "deployment_id": request.endpoint,
        "metadata": request.labels,
    }


def status_of(request: Request) -> str:
    """One of the contract's states; between two attempts a job is queued."""
    if request.cancel_requested_at is not None and not request.is_ended:
        return "canceling"
    return _STATUSES.get(request.state, "queued")


def progress_document(request: Request) -> dict[str, Any] | None:
    """The last snapshot, or None before there is one; of a job that succeeded it says that all is done."""
    told = request.progress
    if told is None:
        return None
    value = 1.0 if request.state == SUCCEEDED else min(1.0, max(0.0, _number(told.get("value"))))
    total = int(_number(told.get("nodes_total")))
    document: dict[str, Any] = {
        "value": value,
        "nodes_done": total if request.state == SUCCEEDED else int(_number(told.get("nodes_done"))),
        "nodes_total": total,
    }
    document |= {name: str(told[name]) for name in _PROGRESS_TEXTS if told.get(name) is not None}
    return document | {name: int(_number(told[name])) for name in ("step", "steps") if told.get(name) is not None}


def output_document(output: Output, request: Request, links: Links) -> dict[str, Any]:
    """One output. Its hash would be BLAKE3, which no worker computes; ``sha256`` is our own field."""
    return {
        "node_id": output.node_id,
        "name": output.name,
        "type": output.kind,
        "content_type": output.content_type,
        "size_bytes": output.size_bytes,
        "id": output.identifier,
        "hash": None,
        "sha256": output.sha256,
        "url": links.content(output.identifier),
        "url_expires_at": moment(links.expiry(request.created_at)),
        "job_id": request.key,
    }


def moment(value: datetime | None) -> str | None:
    """As ISO 8601, with its zone."""
    return None if value is None else value.isoformat()


def _metrics(request: Request) -> dict[str, int]:
    """Milliseconds: until a worker began, and that it took; and what else the master tells."""
    waited = {} if request.started_at is None else {"queue_ms": _milliseconds(request.started_at - request.queued_at)}
    took = request.timings.get("run_ms")
    executed = {} if took is None else {"execution_ms": int(took)}
    return {**waited, **executed, **{name: int(value) for name, value in request.timings.items() if name != "run_ms"}}


def _milliseconds(span: timedelta) -> int:
    return max(0, round(span.total_seconds() * 1000))


def _error(request: Request) -> dict[str, Any] | None:
    """Why it failed; what went wrong in an attempt that another one follows is not told."""
    if request.state != FAILED or request.error is None:
        return None
    code = str(request.error.get("code", "internal"))
    details = as_object(request.error.get("details"))
    return {
        "code": _ERROR_CODES.get(code, code),
        "message": str(request.error.get("message", "The job failed")),
        **_texts(details, "node_id", "class_type", "traceback"),
    }


def _texts(document: Mapping[str, Any], *names: str) -> dict[str, str]:
    return {name: str(document[name]) for name in names if document.get(name) is not None}


def _number(value: object) -> float:
    is_number = isinstance(value, int | float) and value - value == 0
    return float(value) if is_number else 0.0  # type: ignore[arg-type]
