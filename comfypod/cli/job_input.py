"""The job that the options of ``comfypod run`` describe."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfypod.errors import InvalidJobInput

_ADDRESSES = ("https://", "http://", "s3://")


@dataclass(frozen=True, slots=True)
class GivenJob:
    """The options: a file with a job, and what is put over it."""

    input_file: Path | None = None
    workflow: str | None = None
    prompt: str | None = None
    parameters: Sequence[str] = ()
    files: Sequence[str] = ()


def make_job_input(given: GivenJob) -> dict[str, Any]:
    """The job's input: the file's, and what the options put over it.

    Raises:
        InvalidJobInput: an option is not what it should be, or a file cannot be read.
    """
    job_input: dict[str, Any] = {}
    if given.input_file is not None:
        document = _read_json(given.input_file)
        job_input = document.get("input") if isinstance(document, dict) else None  # type: ignore[assignment]
        if not isinstance(job_input, dict):
            example = '{"input": {"prompt": "a fox"}}'
            raise InvalidJobInput([f"{given.input_file}: must hold an object such as {example}"])
    if given.workflow is not None:
        is_file = given.workflow.endswith(".json")
        job_input["workflow"] = _read_json(Path(given.workflow)) if is_file else given.workflow
    if given.prompt is not None:
        job_input["prompt"] = given.prompt
    if given.parameters:
        job_input["parameters"] = {**job_input.get("parameters", {}), **dict(map(_parameter, given.parameters))}
    if given.files:
        job_input["files"] = [*job_input.get("files", []), *map(_file, given.files)]
    return job_input


def _parameter(text: str) -> tuple[str, Any]:
    """``NAME=VALUE``; a value that is JSON is taken as such (numbers, true), everything else as a text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidJobInput([f"--set {text!r}: write NAME=VALUE"])
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _file(text: str) -> dict[str, str]:
    """``PATH``, ``NAME=PATH`` or ``NAME=ADDRESS``; the content of a file here goes along as base64."""
    name, equals, source = text.partition("=")
    if not equals or Path(text).is_file():
        name, source = Path(text).name, text
    if source.startswith(_ADDRESSES):
        if not equals or not name:
            raise InvalidJobInput([f"--file {text!r}: write NAME=ADDRESS, with the name that the workflow uses"])
        return {"name": name, "url": source}
    try:
        return {"name": name, "data": base64.b64encode(Path(source).read_bytes()).decode("ascii")}
    except OSError as error:
        raise InvalidJobInput([f"--file {text!r}: cannot be read ({error.strerror or error})"]) from error


def _read_json(path: Path) -> Any:  # noqa: ANN401
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidJobInput([f"{path}: cannot be read as JSON ({error})"]) from error
