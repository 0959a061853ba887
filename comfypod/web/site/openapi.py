"""The interface of the page's server as an OpenAPI 3.1 document. Pure.

The shapes of documents are those of `comfypod.web.documents` and its neighbours; what is written here is what they do
not say: the routes, and in which cases which answers come.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import comfypod
from comfypod.web.site.guard import OWN_HEADER
from comfypod.web.site.openapi_schemas import SCHEMAS

_JSON = "application/json"
_ANY = "application/octet-stream"
_STREAM = "text/event-stream"
_SIGNED_IN: list[dict[str, list[str]]] = [{"cookie": []}, {"token": []}]
_NOBODY: list[dict[str, list[str]]] = [{}]

_RUN_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}, "description": "The run's id."}
_EVENTS = """Server-sent events. The first is `runs`: those that have not ended, and the newest that have (as a \
RunPage). Then `run` (a Run) whenever one changes, `removed` (`{"id"}`), and `endpoint` (an EndpointState). A slow \
browser gets the newest state, not every one. A comment comes every 15 s. After a reconnection the first event is the \
whole state again, so nothing is missed and no `Last-Event-ID` is needed."""


@cache
def openapi_document() -> Mapping[str, Any]:
    """The whole document; its addresses are relative to its own."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "comfypod web",
            "version": comfypod.__version__,
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": "Run ComfyUI workflows and watch them. Runs belong to a visitor: a browser by its cookie, "
            "or all programs together. Requests that change something need `Content-Type: application/json` or the "
            f"header `{OWN_HEADER}`; those of pages of other sites are refused.",
        },
        "servers": [{"url": "..", "description": "The page's own address"}],
        "security": _SIGNED_IN,
        "paths": _PATHS,
        "components": {
            "schemas": SCHEMAS,
            "responses": {"Error": _answer("It is refused, or fails; the code says why.", "Error")},
            "securitySchemes": {
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "comfypod_web_PORT",
                    "description": "GET /api/session gives it; where a token is needed, POST /api/session with it.",
                },
                "token": {"type": "http", "scheme": "bearer", "description": "The server's token, for programs."},
            },
        },
    }


def _ref(schema: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _content(schema: str | Mapping[str, Any] | None, media_type: str = _JSON) -> dict[str, Any]:
    if schema is None:
        return {media_type: {}}
    return {media_type: {"schema": _ref(schema) if isinstance(schema, str) else schema}}


def _answer(
    description: str, schema: str | Mapping[str, Any] | None = None, media_type: str | None = None
) -> dict[str, Any]:
    """An answer; without a schema and a media type it has no body."""
    if schema is None and media_type is None:
        return {"description": description}
    return {"description": description, "content": _content(schema, media_type or _JSON)}


def _operation(
    name: str,
    summary: str,
    answers: Mapping[str, Any],
    *errors: int,
    **more: Any,  # noqa: ANN401 (any JSON)
) -> dict[str, Any]:
    """An operation; ``errors`` are the statuses that it can be refused with besides those that any request can."""
    statuses = {400, 403, 421, *errors, *(() if more.get("security") == _NOBODY else (401,))}
    refusals = {str(status): {"$ref": "#/components/responses/Error"} for status in sorted(statuses)}
    return {"operationId": name, "summary": summary, **more, "responses": {**answers, **refusals}}


def _body(schema: str | None, description: str, media_type: str = _JSON) -> dict[str, Any]:
    return {"required": True, "description": description, "content": _content(schema, media_type)}


def _query(name: str, kind: str, description: str, *, required: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": required,
        "schema": {"type": kind},
        "description": description,
    }


def _path(name: str, kind: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": kind}, "description": description}


_FILE = {"200": _answer("The file.", None, _ANY), "206": _answer("A part of it.", None, _ANY)}
_UNCHANGED = {"304": _answer("It is as it was.")}

_SESSION_PATHS = {
    "/health": {
        "get": _operation(
            "getHealth", "Whether the server answers", {"200": _answer("It does.", "Health")}, security=_NOBODY
        )
    },
    "/api/openapi.json": {
        "get": _operation(
            "getInterface", "This document", {"200": _answer("It.", {"type": "object"})}, security=_NOBODY
        )
    },
    "/api/session": {
        "get": _operation(
            "getSession",
            "Who this is; a new browser gets its cookie",
            {"200": _answer("Whether somebody is signed in.", "Session")},
            401,
            429,
            security=_NOBODY,
        ),
        "post": _operation(
            "signIn",
            "Sign in",
            {"204": _answer("Signed in; the cookie says so.")},
            401,
            413,
            415,
            429,
            security=_NOBODY,
            requestBody=_body("SignIn", "The server's token."),
        ),
        "delete": _operation(
            "signOut", "Sign out", {"204": _answer("Signed out; the runs are kept.")}, security=_NOBODY
        ),
    },
}

_FORM_PATHS = {
    "/api/endpoint": {
        "get": _operation("getEndpoint", "How the endpoint is", {"200": _answer("Its state.", "EndpointState")})
    },
    "/api/templates": {
        "get": _operation(
            "getTemplates",
            "The templates, the default one first",
            {"200": _answer("All of them.", {"type": "array", "items": _ref("TemplateForm")})},
        )
    },
    "/api/forms": {
        "post": _operation(
            "makeForm",
            "What of a workflow can be set",
            {"200": _answer("The form.", "Form")},
            413,
            415,
            429,
            502,
            504,
            requestBody=_body(
                "FormRequest", "The workflow; with `ask` the endpoint is asked, which may start a worker."
            ),
        )
    },
}

_UPLOAD_PATHS = {
    "/api/uploads": {
        "post": _operation(
            "upload",
            "Send a file",
            {"201": _answer("It is here.", "Upload")},
            413,
            415,
            429,
            504,
            507,
            parameters=[_query("name", "string", "The file's name.")],
            requestBody=_body(
                None, f"The file's bytes, of any type that no form can send, or with {OWN_HEADER}.", "*/*"
            ),
        )
    },
    "/api/uploads/{id}": {
        "get": _operation(
            "getUpload",
            "A file that was sent",
            {**_FILE, **_UNCHANGED},
            404,
            416,
            parameters=[_path("id", "string", "The upload's id.")],
        )
    },
}

_RUN_PATHS = {
    "/api/runs": {
        "post": _operation(
            "startRun",
            "Start a run",
            {"201": _answer("It is started, or was by an earlier request with the same key.", "Run")},
            413,
            415,
            429,
            507,
            parameters=[
                {
                    "name": "Idempotency-Key",
                    "in": "header",
                    "schema": {"type": "string", "pattern": r"^[A-Za-z0-9_.:-]{1,200}$"},
                    "description": "The same request, sent again with the same key, starts nothing.",
                }
            ],
            requestBody=_body("RunRequest", "What to run."),
        ),
        "get": _operation(
            "getRuns",
            "Runs, the newest first",
            {"200": _answer("Some of them.", "RunPage")},
            parameters=[
                _query("limit", "integer", "At most so many, 1 to 100 (30)."),
                _query("before", "string", "Only those that are older than this run."),
            ],
        ),
    },
    "/api/runs/{id}": {
        "get": _operation("getRun", "A run", {"200": _answer("It.", "Run")}, 404, parameters=[_RUN_ID]),
        "delete": _operation(
            "removeRun",
            "Remove a run that has ended, and its files",
            {"204": _answer("It is gone.")},
            404,
            409,
            507,
            parameters=[_RUN_ID],
        ),
    },
    "/api/runs/{id}/workflow": {
        "get": _operation(
            "getWorkflow",
            "What a run was asked to run",
            {"200": _answer("A workflow, or a template's name.", {"type": ["object", "string"]})},
            404,
            parameters=[_RUN_ID],
        )
    },
    "/api/runs/{id}/cancel": {
        "post": _operation(
            "cancelRun",
            "Cancel a run; one that has ended stays as it is",
            {"200": _answer("The run as it is now.", "Run")},
            404,
            415,
            parameters=[_RUN_ID],
        )
    },
    "/api/runs/{id}/preview": {
        "get": _operation(
            "getPreview",
            "The newest preview",
            {"200": _answer("The picture.", None, "image/*")},
            404,
            parameters=[_RUN_ID, _query("number", "integer", "Which it is; only tells one from the next.")],
        )
    },
    "/api/runs/{id}/files/{index}/{filename}": {
        "get": _operation(
            "getFile",
            "A file that a run made",
            {**_FILE, **_UNCHANGED},
            404,
            416,
            parameters=[
                _RUN_ID,
                _path("index", "integer", "Which of the outputs."),
                _path("filename", "string", "Its name."),
                _query("download", "string", "1: to be saved, not shown."),
            ],
        )
    },
}

_EVENT_PATHS = {
    "/api/events": {
        "get": _operation(
            "watch",
            "What happens, as it happens",
            {"200": {"description": _EVENTS, "content": _content("Event", _STREAM)}},
            404,
            429,
            parameters=[_query("run", "string", "Only this run's.")],
        )
    }
}

_PAGE = {"200": _answer("It.", None, "*/*"), **_UNCHANGED}
_PAGE_PATHS = {
    path: {"get": _operation(name, summary, _PAGE, *errors, security=_NOBODY, parameters=parameters)}
    for path, name, summary, errors, parameters in (
        ("/", "getPage", "The page", (), []),
        ("/static/{path}", "getPart", "A part of it", (404,), [_path("path", "string", "Which.")]),
        ("/service_worker.js", "getServiceWorker", "What keeps the page for when it is offline", (404,), []),
        ("/manifest.webmanifest", "getManifest", "What the page is as an app", (404,), []),
        ("/favicon.ico", "getIcon", "Its icon", (404,), []),
    )
}

_PATHS = {**_PAGE_PATHS, **_SESSION_PATHS, **_FORM_PATHS, **_UPLOAD_PATHS, **_RUN_PATHS, **_EVENT_PATHS}
