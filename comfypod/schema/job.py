"""A job's input, as callers send it: a superset of what the field's workers accept. See ``docs/reference/job.md``."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from comfypod.errors import InvalidJobInput


class _Document(BaseModel):
    """A part of the input: strict types; unknown fields are kept aside, to be warned of."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, populate_by_name=True)


class InputFile(_Document):
    """A file that the workflow loads: ``data`` is base64 or a data URI, ``url`` an address to fetch it from."""

    name: str = Field(min_length=1, max_length=200)
    data: str | None = Field(None, validation_alias=AliasChoices("data", "image"), repr=False)
    url: str | None = None

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        parts = name.replace("\\", "/").split("/")
        if any(part in ("", ".", "..") for part in parts) or not name.isprintable():
            msg = "must be a plain relative file name"
            raise ValueError(msg)
        return name

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.data is None) == (self.url is None):
            msg = "send its content as base64 in data (or an address in url), one of them"
            raise ValueError(msg)
        return self


class OutputSelection(_Document):
    """Which outputs are returned, and how: of these nodes (default: all), temporary ones (previews) too if asked."""

    nodes: list[str] | None = None
    temporary: bool = False
    format: Literal["original", "png", "jpeg", "webp"] = "original"
    quality: int | None = Field(None, ge=1, le=100)
    metadata: bool = True


class ProgressOptions(_Document):
    """What progress updates carry besides numbers."""

    previews: bool = False


class JobInput(_Document):
    """The value of ``input``."""

    workflow: dict[str, Any] | str | None = None
    prompt: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    files: list[InputFile] = Field(default_factory=list, validation_alias=AliasChoices("files", "images"))
    outputs: OutputSelection = Field(default_factory=OutputSelection)
    delivery: Literal["auto", "inline", "bucket", "path"] = "auto"
    timeout_seconds: float | None = Field(None, gt=0, strict=False)
    progress: ProgressOptions = Field(default_factory=ProgressOptions)
    allow_partial: bool = False
    comfy_org_api_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("comfy_org_api_key", "api_key_comfy_org"), strict=False
    )

    @classmethod
    def parse(cls, value: Any) -> JobInput:  # noqa: ANN401 (what a caller sent)
        """Check ``value``: an object, or a text that holds one as JSON.

        Raises:
            InvalidJobInput: every problem at once, each with its path and what to change.
        """
        document = _document(value)
        problems = list(_conflicts(document))
        if isinstance(document.get("prompt"), dict):  # ComfyUI's own word for a workflow
            document = {**document, "workflow": document["prompt"], "prompt": None}
        try:
            request = cls.model_validate(document)
            problems += _unavailable(request)
        except ValidationError as error:
            problems += map(_sentence, error.errors(include_url=False))
        if problems:
            raise InvalidJobInput(problems)
        return request

    def warnings(self) -> list[str]:
        """A sentence for every field that is unknown and so changed nothing."""
        return list(_unknown_fields(self, ""))


def _document(value: Any) -> dict[str, Any]:  # noqa: ANN401
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise InvalidJobInput([f"input: the text is not valid JSON ({error}); send an object"]) from error
    if not isinstance(value, dict):
        raise InvalidJobInput(['input: must be an object such as {"prompt": "a fox"} or {"workflow": {…}}'])
    return value


def _conflicts(document: dict[str, Any]) -> Iterator[str]:
    """Rules between fields."""
    workflow, prompt = document.get("workflow"), document.get("prompt")
    if workflow is None and prompt is None:
        yield "input: send a workflow (API format, or a template's name) or a prompt"
    if isinstance(workflow, dict) and prompt is not None:
        yield "prompt: belongs to a template; with a workflow of your own use parameters, such as {'6.text': …}"
    for name, alias in (("files", "images"), ("comfy_org_api_key", "api_key_comfy_org")):
        if name in document and alias in document:
            yield f"{alias}: is the same as {name}; send one of them"


def _unavailable(request: JobInput) -> Iterator[str]:
    """What the contract has and this version does not do yet: refused, rather than ignored."""
    wanted = {
        f"delivery: {request.delivery!r}": request.delivery in ("bucket", "path"),
        "allow_partial": request.allow_partial,
        "outputs.format": request.outputs.format != "original",
        "outputs.quality": request.outputs.quality is not None,
        "outputs.metadata: false": not request.outputs.metadata,
        **{f"files[{index}].url": file.url is not None for index, file in enumerate(request.files)},
    }
    for name, is_wanted in wanted.items():
        if is_wanted:
            yield f"{name} is not available in this version of the worker"


def _sentence(item: Any) -> str:  # noqa: ANN401 (pydantic's ErrorDetails)
    path = ""
    for part in item["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part not in ("dict[str,any]", "str"):  # the branches of a union are no part of the path
            path += f".{part}" if path else str(part)
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{path or 'input'}: {message[0].lower()}{message[1:]}"


def _unknown_fields(document: _Document, path: str) -> Iterator[str]:
    known = type(document).model_fields
    for name in document.model_extra or {}:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {path}{near[0]}?" if near else ""
        yield f"{path}{name}: unknown field, ignored{hint}"
    for name in known:
        value = getattr(document, name)
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(item, _Document):
                yield from _unknown_fields(item, f"{path}{name}[{index}]." if item is not value else f"{path}{name}.")
