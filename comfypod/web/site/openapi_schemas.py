"""The documents of the interface as JSON Schema: most of them are what the models say. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from comfypod.web.documents import EndpointState, Run, RunPage
from comfypod.web.forms.forms import Form, TemplateForm
from comfypod.web.runs.request import RunRequest
from comfypod.web.runs.uploads import Upload

_TEXT = {"type": "string"}


def _object(required: Mapping[str, Any], description: str, **optional: Any) -> dict[str, Any]:  # noqa: ANN401 (any JSON)
    return {
        "type": "object",
        "description": description,
        "required": [*required],
        "properties": {**required, **optional},
    }


def _from_models() -> dict[str, Any]:
    """What answers have is there always; what requests may leave out, stays so."""
    answers = (Run, RunPage, EndpointState, Upload, Form, TemplateForm)
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(RunRequest, "validation")]
    models += [(model, "serialization") for model in answers]
    _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")
    return dict(schemas["$defs"])


SCHEMAS: dict[str, Any] = {
    **_from_models(),
    "Health": _object({"status": {"const": "ok"}}, "The server answers."),
    "SignIn": _object({"token": _TEXT}, "What to sign in with."),
    "Session": _object(
        {
            "is_signed_in": {"type": "boolean"},
            "needs_token": {"type": "boolean", "description": "Whether anybody has to sign in here."},
            "limits": _object(
                {"runs_at_once": {"type": "integer"}, "upload_bytes": {"type": "integer"}},
                "How much a visitor may do.",
            ),
        },
        "Who this is.",
    ),
    "FormRequest": _object(
        {"workflow": {"oneOf": [{"type": "object"}, _TEXT]}},
        "A workflow, as ComfyUI exports it for its API or as its page saves it; or the name of a template.",
        ask={"type": "boolean", "default": False},
    ),
    "Event": {
        "description": "The data of an event, by its name: runs, run, removed, endpoint.",
        "oneOf": [
            {"$ref": "#/components/schemas/RunPage"},
            {"$ref": "#/components/schemas/Run"},
            _object({"id": _TEXT}, "A run that is gone."),
            {"$ref": "#/components/schemas/EndpointState"},
        ],
    },
    "Error": _object(
        {
            "error": _object(
                {"code": _TEXT, "message": _TEXT, "details": {"type": "object"}},
                "A stable code, one sentence, and the facts in it.",
            )
        },
        "Why there is no other answer.",
    ),
}
