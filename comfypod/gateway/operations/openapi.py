"""The gateway's interface as an OpenAPI 3.1 document: the routes, and in which cases which answers come. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import comfypod
from comfypod.gateway.operations.openapi_schemas import SCHEMAS

JOBS, ASSETS, OWN, RUNPOD, OPERATIONS = "Jobs", "Assets", "Webhooks and replays", "RunPod's interface", "Operations"
_TAGS = {
    JOBS: "The Comfy API v2: one run of a workflow, from its submission to its outputs.",
    ASSETS: "The Comfy API v2: files for jobs, and those that jobs made.",
    OWN: "What the Comfy API has no route for.",
    RUNPOD: "The same requests, for clients of RunPod; the endpoint's name may be anything.",
    OPERATIONS: "For those who run the gateway; no key is needed.",
}
_JSON = "application/json"
_ANY = "application/octet-stream"
_API = "/api/v2"


@cache
def openapi_document() -> Mapping[str, Any]:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "comfypod gateway",
            "version": comfypod.__version__,
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": "The Comfy API v2 for ComfyUI workflows on RunPod. Every answer has X-Comfy-Request-Id, "
            "the trace that its job's logs have, too. A refusal that passes (429) says with Retry-After when.",
        },
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "security": [{"key": []}],
        "paths": {**_job_paths(), **_asset_paths(), **_own_paths(), **_runpod_paths(), **_operation_paths()},
        "components": {
            "schemas": SCHEMAS,
            "responses": {"Error": {"description": "It is refused, or fails.", "content": _content("Error")}},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "A key of a tenant: cp_…"}},
        },
    }


def _content(schema: str, media_type: str = _JSON) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _answer(description: str, schema: str | None = None, media_type: str | None = None) -> dict[str, Any]:
    if schema is not None:
        return {"description": description, "content": _content(schema)}
    return {"description": description, **({"content": {media_type: {}}} if media_type else {})}


def _operation(
    tag: str,
    name: str,
    summary: str,
    answers: Mapping[int, Any],
    *errors: int,
    body: str | None = None,
    media_type: str = _JSON,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """An operation; ``errors`` are the statuses that it can be refused with besides those that any can."""
    statuses = {*errors, 503} if tag == OPERATIONS else {*errors, 401, 500, 503}
    refusals = {str(status): {"$ref": "#/components/responses/Error"} for status in sorted(statuses - {*answers})}
    parameters = [
        {"name": header, "in": "header", "required": False, "schema": {"type": "string"}, "description": text}
        for header, text in (headers or {}).items()
    ]
    sent = {"requestBody": {"required": True, "content": _content(body, media_type)}} if body else {}
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        **({"security": []} if tag == OPERATIONS else {}),
        **({"parameters": parameters} if parameters else {}),
        **sent,
        "responses": {**{str(status): answer for status, answer in answers.items()}, **refusals},
    }


_SUBMISSION_HEADERS = {
    "Idempotency-Key": "Used once within 24 hours; the second use is refused and names the job of the first.",
    "X-Comfypod-User": "Whose turn it is, within the tenant: users take turns.",
    "X-Comfypod-Priority": "high, normal or low.",
    "X-Comfypod-Webhook": "Where to post when the job has ended.",
    "traceparent": "The trace that the job belongs to (W3C Trace Context).",
}


def _job_paths() -> dict[str, Any]:
    job = _answer("The job.", "Job")
    return {
        f"{_API}/jobs": {
            "post": _operation(
                JOBS, "postJobs", "Run a workflow", {201: job}, 408, 413, 422, 429,
                body="JobCall", headers=_SUBMISSION_HEADERS,
            ),
            "get": _operation(JOBS, "listJobs", "Jobs, newest first", {200: _answer("A page.", "JobPage")}, 400, 422),
        },
        f"{_API}/jobs/{{id}}": {"get": _operation(JOBS, "getJob", "How a job stands", {200: job}, 404)},
        f"{_API}/jobs/{{id}}/workflow": {
            "get": _operation(
                JOBS, "getJobWorkflow", "What a job runs", {200: _answer("It.", "JobWorkflow")}, 404
            )
        },
        f"{_API}/jobs/{{id}}/logs": {
            "get": _operation(JOBS, "getJobLogs", "No logs are kept", {204: _answer("There is none.")}, 404)
        },
        f"{_API}/jobs/{{id}}/events": {
            "get": _operation(
                JOBS, "getJobEvents", "A job as it goes: status, progress, preview, output; the last status ends it",
                {200: _answer("Server-sent events.", media_type="text/event-stream")}, 404, 429,
            )
        },
        f"{_API}/jobs/{{id}}/cancel": {"post": _operation(JOBS, "cancelJob", "Cancel a job", {200: job}, 404)},
    }  # fmt: skip


def _asset_paths() -> dict[str, Any]:
    old, new = _answer("The bytes were there.", "Asset"), _answer("A new file.", "Asset")
    return {
        f"{_API}/assets": {
            "post": _operation(
                ASSETS, "postAssets", "Upload a file", {201: new, 200: old}, 408, 409, 413, 422, 502,
                body="Upload", media_type="multipart/form-data",
            )
        },
        f"{_API}/assets/from-hash": {
            "post": _operation(
                ASSETS, "assetFromHash", "Use bytes that are there", {201: new, 200: old}, 404, 408, 413, 422,
                body="AssetFromHash",
            )
        },
        f"{_API}/assets/by-hash/{{hash}}": {
            "head": _operation(ASSETS, "headAssetByHash", "Whether bytes are there", {200: _answer("They are.")}, 404)
        },
        f"{_API}/assets/{{id}}": {
            "get": _operation(ASSETS, "getAsset", "What a file is", {200: old}, 404),
            "delete": _operation(ASSETS, "deleteAsset", "Delete a file", {204: _answer("Deleted.")}, 404, 409, 502),
        },
        f"{_API}/assets/{{id}}/content": {
            "get": _operation(
                ASSETS, "getAssetContent", "A file's bytes",
                {
                    302: _answer("Where they are, for a while."),
                    200: _answer("A text.", media_type=_ANY),
                    206: _answer("A part of a text.", media_type=_ANY),
                },
                404, 416,
            )
        },
    }  # fmt: skip


def _own_paths() -> dict[str, Any]:
    webhook = {200: _answer("Where, and what it is signed with.", "Webhook")}
    base = "/api/comfypod"
    return {
        f"{base}/webhook": {
            "get": _operation(OWN, "getWebhook", "The webhook of all jobs that name none", webhook),
            "put": _operation(OWN, "putWebhook", "Set it", webhook, 408, 413, 422, body="WebhookAddress"),
            "delete": _operation(OWN, "deleteWebhook", "Have none", {204: _answer("There is none.")}),
        },
        f"{base}/dead-letters": {
            "get": _operation(
                OWN, "listDeadLetters", "Webhooks that were given up", {200: _answer("They.", "DeadLetters")}
            )
        },
        f"{base}/dead-letters/{{id}}/replay": {
            "post": _operation(OWN, "replayDeadLetter", "Send one again", {204: _answer("It will be.")}, 404)
        },
        f"{base}/jobs/{{id}}/replay": {
            "post": _operation(
                OWN, "replayJob", "Run a job anew that failed or was cancelled",
                {200: _answer("The job.", "Job")}, 404, 409,
            )
        },
    }  # fmt: skip


def _runpod_paths() -> dict[str, Any]:
    base = "/v2/{name}"
    status = {200: _answer("How it stands.", "RunStatus")}
    submit = (408, 413, 422, 429)
    waiting = "How a job stands, when it has ended or the wait is over"
    return {
        f"{base}/run": {"post": _operation(RUNPOD, "run", "Run a job", status, *submit, body="RunCall")},
        f"{base}/runsync": {
            "post": _operation(RUNPOD, "runsync", "Run a job, and wait", status, *submit, body="RunCall")
        },
        f"{base}/status/{{id}}": {
            "get": _operation(RUNPOD, "status", "How a job stands", status, 404),
            "post": _operation(RUNPOD, "postStatus", "How a job stands", status, 404),
        },
        f"{base}/status-sync/{{id}}": {
            "get": _operation(RUNPOD, "statusSync", waiting, status, 404, 422),
            "post": _operation(RUNPOD, "postStatusSync", waiting, status, 404, 422),
        },
        f"{base}/cancel/{{id}}": {"post": _operation(RUNPOD, "cancel", "Cancel a job", status, 404)},
        f"{base}/retry/{{id}}": {"post": _operation(RUNPOD, "retry", "Run a job anew", status, 404, 409)},
        f"{base}/purge-queue": {
            "post": _operation(RUNPOD, "purgeQueue", "Cancel all that waits", {200: _answer("How many.", "Status")})
        },
        f"{base}/health": {"get": _operation(RUNPOD, "endpointHealth", "Counts", {200: _answer("They.")})},
        f"{base}/requests": {"get": _operation(RUNPOD, "requests", "Jobs, newest first", {200: _answer("They.")}, 422)},
    }


def _operation_paths() -> dict[str, Any]:
    status = {200: _answer("It is well.", "Status")}
    hook = _operation(OPERATIONS, "hint", "RunPod says that a job has ended", {200: _answer("Heard.")}, 404)
    return {
        "/health": {"get": _operation(OPERATIONS, "health", "Whether the process answers", status)},
        "/ready": {"get": _operation(OPERATIONS, "ready", "Whether jobs can be kept and run", status)},
        "/metrics": {
            "get": _operation(
                OPERATIONS, "metrics", "Metrics for Prometheus", {200: _answer("They.", media_type="text/plain")}
            )
        },
        f"{_API}/openapi.json": {
            "get": _operation(OPERATIONS, "openapi", "This document", {200: _answer("It.", media_type=_JSON)})
        },
        "/": {"get": _operation(OPERATIONS, "page", "This to read", {200: _answer("It.", media_type="text/html")})},
        "/hooks/runpod/{key}/{token}": {"post": hook},
    }
