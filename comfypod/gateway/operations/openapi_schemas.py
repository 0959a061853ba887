"""The documents of the interface as JSON Schema; those of the Comfy API are as its own specification has them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEXT = {"type": "string"}
_NUMBER = {"type": "integer"}
_MOMENT = {"type": "string", "format": "date-time"}
_MOMENT_OR_NULL = {"type": ["string", "null"], "format": "date-time"}
_ADDRESS = {"type": "string", "format": "uri"}
_LABELS = {"type": "object", "additionalProperties": _TEXT, "maxProperties": 16}
STATUSES = ("queued", "running", "succeeded", "canceling", "canceled", "failed", "expired")
OUTPUT_KINDS = ("image", "video", "audio", "text", "file", "latent")


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: Mapping[str, Any], description: str, **optional: Any) -> dict[str, Any]:  # noqa: ANN401 (any JSON)
    return {
        "type": "object",
        "description": description,
        "required": [*required],
        "properties": {**required, **optional},
    }


_PROGRESS = _object(
    {"value": {"type": "number", "minimum": 0, "maximum": 1}, "nodes_done": _NUMBER, "nodes_total": _NUMBER},
    "How far the job is; it never falls.",
    current_node=_TEXT,
    current_node_class=_TEXT,
    step=_NUMBER,
    steps=_NUMBER,
    message=_TEXT,
)
_OUTPUT = _object(
    {
        "node_id": _TEXT,
        "name": _TEXT,
        "type": {"enum": [*OUTPUT_KINDS]},
        "content_type": _TEXT,
        "size_bytes": _NUMBER,
        "id": _TEXT,
        "hash": {"type": "null"},
        "url": _ADDRESS,
        "url_expires_at": _MOMENT,
    },
    "A file or a text that a node made.",
    sha256={"type": ["string", "null"]},
    job_id=_TEXT,
)
_ASSET = _object(
    {
        "id": _TEXT,
        "hash": {"type": ["string", "null"], "description": "blake3:HEX, of what arrived."},
        "size_bytes": _NUMBER,
        "content_type": _TEXT,
        "created_at": _MOMENT,
        "url": _ADDRESS,
        "url_expires_at": _MOMENT,
    },
    "A file that was uploaded, or that a job made.",
    file_path=_TEXT,
    expires_at=_MOMENT_OR_NULL,
    created_new={"type": "boolean"},
    tags={"type": "array", "items": _TEXT},
    job_id=_TEXT,
)
_JOB = _object(
    {
        "id": _TEXT,
        "status": {"enum": [*STATUSES]},
        "created_at": _MOMENT,
        "started_at": _MOMENT_OR_NULL,
        "completed_at": _MOMENT_OR_NULL,
        "expires_at": _MOMENT,
        "queue_position": {"type": ["integer", "null"], "description": "0: the next."},
        "progress": {"oneOf": [_ref("Progress"), {"type": "null"}]},
        "outputs": {"type": "array", "items": _ref("Output")},
        "error": {"oneOf": [_ref("JobError"), {"type": "null"}]},
        "urls": _object({"self": _ADDRESS, "events": _ADDRESS, "cancel": _ADDRESS}, "Where it goes on."),
    },
    "One run of a workflow.",
    metrics={"type": "object", "additionalProperties": _NUMBER},
    metadata=_LABELS,
)
_SUMMARY = _object(
    {"id": _TEXT, "status": {"enum": [*STATUSES]}, "create_time": _MOMENT, "update_time": _MOMENT, "metadata": _LABELS},
    "A job in a list.",
    deployment_id={"type": ["string", "null"]},
)

SCHEMAS: dict[str, Any] = {
    "Job": _JOB,
    "JobCall": _object(
        {"workflow": {"type": "object", "description": "In ComfyUI's API format; files as core/ASSET references."}},
        "A job to run.",
        metadata=_LABELS,
        extra_data=_object({"api_key_comfy_org": _TEXT}, "A key for paid nodes."),
    ),
    "JobError": _object({"code": _TEXT, "message": _TEXT}, "Why a job failed.", node_id=_TEXT, class_type=_TEXT),
    "JobPage": _object(
        {"jobs": {"type": "array", "items": _SUMMARY}}, "One page of a list, newest first.", next_cursor=_TEXT
    ),
    "JobWorkflow": _object({"workflow": {"type": "object"}, "format": {"const": "api"}}, "What the job runs."),
    "Progress": _PROGRESS,
    "Output": _OUTPUT,
    "Asset": _ASSET,
    "AssetFromHash": _object(
        {"hash": _TEXT}, "Bytes that are there already.", file_path=_TEXT, tags={"type": "array"}, expires_in=_NUMBER
    ),
    "Upload": _object(
        {"file": {"type": "string", "format": "binary"}},
        "A file, and what it is.",
        content_type=_TEXT,
        file_path=_TEXT,
        expected_hash=_TEXT,
        tags={"type": "array", "items": _TEXT},
        expires_in={"type": "integer", "minimum": 60, "maximum": 604_800},
    ),
    "Webhook": _object({"url": {"type": ["string", "null"]}, "secret": _TEXT}, "Where a tenant is told, and the key."),
    "WebhookAddress": _object({"url": _ADDRESS}, "Where to post."),
    "DeadLetters": _object({"dead_letters": {"type": "array", "items": {"type": "object"}}}, "What never arrived."),
    "RunCall": _object(
        {"input": {"type": "object", "description": "docs/reference/job.md describes it."}},
        "A job, as RunPod's clients send it.",
        webhook=_ADDRESS,
        policy={"type": "object"},
    ),
    "RunStatus": _object({"id": _TEXT, "status": _TEXT}, "A job, as RunPod's clients read it.", output={}, error={}),
    "Status": _object({"status": _TEXT}, "How the gateway is."),
    "Error": _object(
        {"error": _object({"code": _TEXT, "message": _TEXT, "details": {"type": "object"}}, "Why.")},
        "Why there is no other answer: a stable code, one sentence, and the facts in it.",
    ),
}
