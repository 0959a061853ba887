"""A job's input, as callers send it: a superset of what the field's workers accept. See ``docs/reference/job.md``."""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
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
from comfypod.schema.limits import find_excess
from comfypod.schema.wire import json_safe, shortened

LONGEST_NAME_BYTES = 150
"""Of one part of a file's name: file systems allow 255 bytes, and the worker puts the job's name before it."""
LONGEST_ADDRESS = 8000
MOST_FILES = 1000
MOST_PROBLEMS = 20
"""So many are told of what may be wrong a million times."""

PLAIN_KEY = r"[A-Za-z0-9_.:-]{1,200}"
TRACE_ID = r"[0-9a-f]{32}"
"""As W3C's Trace Context has it (w3.org/TR/trace-context, 3.2.2.3)."""
"""Of a caller's own name for a job."""

_SCHEMES = ("https://", "http://", "s3://")
_ANNOTATED = re.compile(r"\[(input|output|temp)\]$")


class _Document(BaseModel):
    """A part of the input: strict types; unknown fields are kept aside, to be warned of."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, populate_by_name=True)


class InputFile(_Document):
    """A file that the workflow loads: ``data`` is base64 or a data URI, ``url`` an address to fetch it from.

    ``path`` is its name as a relative path with ``/``.
    """

    name: str = Field(min_length=1, max_length=200)
    data: str | None = Field(None, validation_alias=AliasChoices("data", "image"), repr=False)
    url: str | None = Field(None, max_length=LONGEST_ADDRESS, repr=False)  # may hold a signature

    @property
    def path(self) -> PurePosixPath:
        """Where it goes, below the job's own folder."""
        return PurePosixPath(self.name.replace("\\", "/"))

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        parts = name.replace("\\", "/").split("/")
        if any(part.strip() in ("", ".", "..") for part in parts) or not name.isprintable() or '"' in name:
            msg = "must be a plain relative file name"
            raise ValueError(msg)
        if any(len(part.encode()) > LONGEST_NAME_BYTES for part in parts):
            msg = f"must be at most {LONGEST_NAME_BYTES} bytes long"
            raise ValueError(msg)
        if _ANNOTATED.search(name):
            msg = "must not end as ComfyUI names its folders ([input], [output], [temp])"
            raise ValueError(msg)
        return name

    @model_validator(mode="before")
    @classmethod
    def _address_as_data(cls, value: Any) -> Any:  # noqa: ANN401 (what a caller sent)
        """An address where the content belongs is taken as what it is."""
        if isinstance(value, dict) and "url" not in value:
            for key in ("data", "image"):
                if isinstance(value.get(key), str) and value[key].startswith(_SCHEMES):
                    return {**{name: item for name, item in value.items() if name != key}, "url": value[key]}
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.data is None) == (self.url is None):
            msg = "send its content as base64 in data, or an address in url; one of them"
            raise ValueError(msg)
        if self.url is not None and not self.url.lower().startswith(_SCHEMES):
            msg = "url must begin with https://, http:// or s3://"
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
    files: list[InputFile] = Field(
        default_factory=list, max_length=MOST_FILES, validation_alias=AliasChoices("files", "images")
    )
    outputs: OutputSelection = Field(default_factory=OutputSelection)
    delivery: Literal["auto", "inline", "bucket", "path"] = "auto"
    timeout_seconds: float | None = Field(None, gt=0, strict=False)
    progress: ProgressOptions = Field(default_factory=ProgressOptions)
    allow_partial: bool = False
    describe: bool = False
    idempotency_key: str | None = Field(None, pattern=f"^{PLAIN_KEY}$")
    once: bool = False
    trace_id: str | None = Field(None, pattern=f"^{TRACE_ID}$")
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
        if excess := list(itertools.islice(find_excess(document), MOST_PROBLEMS)):
            raise InvalidJobInput(excess)
        # Halves of surrogate pairs, as cut texts have them, become question marks; null is the same as nothing.
        document = {name: item for name, item in json_safe(document).items() if item is not None}
        problems = list(_conflicts(document))
        if isinstance(document.get("prompt"), dict):  # ComfyUI's own word for a workflow
            document = {"workflow": document.pop("prompt"), **document}
        try:
            request = cls.model_validate(document)
            problems += _collisions(request.files)
        except ValidationError as error:
            problems += map(_sentence, error.errors(include_url=False))
        if problems:
            raise InvalidJobInput([shortened(problem, 500) for problem in problems[:MOST_PROBLEMS]])
        return request

    def warnings(self) -> list[str]:
        """A sentence for every field that is unknown and so changed nothing; the first ones of very many."""
        return list(itertools.islice(_unknown_fields(self, ""), MOST_PROBLEMS))


def idempotency_key_of(value: Any) -> str | None:  # noqa: ANN401 (what a caller sent)
    """The key in an input, be the rest of it valid or not: its caller looks for the job by it."""
    return _matching(value, "idempotency_key", PLAIN_KEY)


def trace_id_of(value: Any) -> str | None:  # noqa: ANN401
    """The trace in an input, be the rest of it valid or not: its log lines are found by it."""
    return _matching(value, "trace_id", TRACE_ID)


def _matching(value: Any, name: str, pattern: str) -> str | None:  # noqa: ANN401
    text = value.get(name) if isinstance(value, dict) else None
    return text if isinstance(text, str) and re.fullmatch(pattern, text) else None


def _document(value: Any) -> dict[str, Any]:  # noqa: ANN401
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise InvalidJobInput([f"input: the text is not valid JSON ({error}); send an object"]) from error
    if not isinstance(value, dict):
        raise InvalidJobInput(['input: must be an object such as {"prompt": "a fox"} or {"workflow": {…}}'])
    return value


def _conflicts(document: dict[str, Any]) -> Iterator[str]:
    """Rules between fields."""
    workflow, prompt = document.get("workflow"), document.get("prompt")
    if workflow is None and prompt is None:
        yield "input: send a workflow (API format, or a template's name) or a prompt"
    if isinstance(prompt, dict) and workflow is not None:
        yield "prompt: is a workflow, and there is one in workflow already; send one of them"
    elif isinstance(workflow, dict) and prompt is not None:
        yield "prompt: belongs to a template; with a workflow of your own use parameters, such as {'6.text': …}"
    for name, alias in (("files", "images"), ("comfy_org_api_key", "api_key_comfy_org")):
        if name in document and alias in document:
            yield f"{alias}: is the same as {name}; send one of them"
    if document.get("once") is True:
        yield from _conflicts_of_once(document)


def _conflicts_of_once(document: dict[str, Any]) -> Iterator[str]:
    key, delivery = document.get("idempotency_key"), document.get("delivery")
    if key is None:
        yield "once: needs an idempotency_key, by which a repetition of the job is known"
    elif key in {".", ".."}:
        yield "idempotency_key: must be a name that a folder can have, for once"
    if delivery in {"inline", "path"}:
        yield f"delivery: {delivery} leaves nothing for a repetition to find; with once, leave it out or send 'bucket'"


def _collisions(files: Sequence[InputFile]) -> Iterator[str]:
    """Names that cannot stand side by side in one folder."""
    paths = [file.path for file in files]
    folders = {folder for path in paths for folder in path.parents}
    seen: set[PurePosixPath] = set()
    for index, path in enumerate(paths):
        if path in seen:
            yield f"files[{index}].name: {str(path)!r} is there twice"
        elif path in folders:
            yield f"files[{index}].name: {str(path)!r} is also the folder of another file"
        seen.add(path)


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
        near = difflib.get_close_matches(shortened(name), known, n=1)
        hint = f"; did you mean {path}{near[0]}?" if near else ""
        yield f"{path}{shortened(name)}: unknown field, ignored{hint}"
    for name in known:
        value = getattr(document, name)
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(item, _Document):
                yield from _unknown_fields(item, f"{path}{name}[{index}]." if item is not value else f"{path}{name}.")
