"""The job that the options of ``comfypod run`` describe."""

from __future__ import annotations

import base64
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfypod.cli.workflow_source import Note, read_json, read_workflow
from comfypod.cloud.inputs import ADDRESSES
from comfypod.errors import ConfigurationError, InvalidJobInput
from comfypod.schema.wire import listed, shortened

PLATFORM_GRACE_SECONDS = 60.0
"""What RunPod gives a job beyond ``--timeout``, so that it is the worker that ends it, and says why."""
NOTHING_GIVEN = (
    "Say what to run: a workflow file or the name of a template, --prompt TEXT, or --input job.json; "
    'for example: comfypod run --prompt "a red circle on blue".'
)


@dataclass(frozen=True, slots=True)
class GivenJob:
    """The options: a file with a job, and what is put over it."""

    input_file: Path | None = None
    workflow: str | None = None
    prompt: str | None = None
    seed: int | None = None
    parameters: Sequence[str] = ()
    files: Sequence[str] = ()
    format: str | None = None
    timeout_seconds: float | None = None
    previews: bool = False


@dataclass(frozen=True, slots=True)
class JobRequest:
    """The value of ``input``, and what stands beside it, as arguments of `Client.submit_input`."""

    job_input: dict[str, Any]
    beside: dict[str, Any] = field(default_factory=dict)


def make_request(given: GivenJob, note: Note) -> JobRequest:
    """The job: the file's, and what the options put over it; ``note`` is told what a person may not expect.

    Raises:
        InvalidJobInput: an option is not what it should be, or a file cannot be read.
        ConfigurationError: there is nothing to run.
    """
    job_input, beside = _from_file(given.input_file, note) if given.input_file is not None else ({}, {})
    if given.workflow is not None:
        job_input["workflow"] = read_workflow(given.workflow, note)
    if given.prompt is not None:
        if isinstance(job_input.get("workflow"), dict):
            raise InvalidJobInput(["--prompt belongs to a template; for a workflow of your own: --set NODE.text=TEXT"])
        job_input["prompt"] = given.prompt
    seed = {} if given.seed is None else {"seed": given.seed}
    if parameters := {**seed, **dict(map(parse_parameter, given.parameters))}:
        job_input["parameters"] = {**_object(job_input, "parameters"), **parameters}
    if given.files:
        job_input["files"] = [*_files_so_far(job_input), *_files(given.files)]
    if given.format is not None:
        job_input["outputs"] = {**_object(job_input, "outputs"), "format": given.format}
    if given.previews:
        job_input["progress"] = {**_object(job_input, "progress"), "previews": True}
    if given.timeout_seconds is not None:
        job_input["timeout_seconds"] = given.timeout_seconds
        beside["execution_timeout_seconds"] = given.timeout_seconds + PLATFORM_GRACE_SECONDS
    if not job_input:
        raise ConfigurationError([NOTHING_GIVEN])
    return JobRequest(job_input, beside)


def _from_file(path: Path, note: Note) -> tuple[dict[str, Any], dict[str, Any]]:
    """The input, and what stands beside it: RunPod's ``webhook``, ``policy`` and ``s3Config``."""
    document = read_json(path)
    job_input = document.get("input") if isinstance(document, dict) else None
    if not isinstance(job_input, dict):
        example = '{"input": {"prompt": "a fox"}}'
        raise InvalidJobInput([f"{path}: must hold an object such as {example}"])
    policy = _object(document, "policy")
    beside = {
        "webhook": document.get("webhook"),
        "s3_config": document.get("s3Config"),
        "execution_timeout_seconds": _seconds(policy, "executionTimeout"),
        "ttl_seconds": _seconds(policy, "ttl"),
        "low_priority": policy.get("lowPriority"),
    }
    ignored = sorted({*document} - {"id", "input", "webhook", "s3Config", "policy"})
    if ignored:
        note(f"{path}: not sent, because RunPod knows no such field: {listed(ignored)}")
    return job_input, {name: value for name, value in beside.items() if value is not None}


def _seconds(policy: dict[str, Any], name: str) -> float | None:
    """A field of RunPod's policy, which is in milliseconds."""
    value = policy.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InvalidJobInput([f"policy.{name}: must be a number of milliseconds"])
    return None if value is None else value / 1000


def _object(job_input: dict[str, Any], name: str) -> dict[str, Any]:
    value = job_input.get(name) or {}
    if not isinstance(value, dict):
        raise InvalidJobInput([f"{name}: must be an object"])
    return value


def parse_parameter(text: str) -> tuple[str, Any]:
    """``NAME=VALUE``; a value that is JSON is taken as such (numbers, true), everything else as a text.

    Raises:
        InvalidJobInput: there is no name, or no equals sign.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidJobInput([f"--set {text!r}: write NAME=VALUE"])
    try:
        return name, json.loads(value, parse_constant=str)  # NaN and Infinity are words like any other
    except (ValueError, RecursionError):
        return name, value


def _files_so_far(job_input: dict[str, Any]) -> list[Any]:
    """The files of ``--input``, which may call them images."""
    files = job_input.pop("images", None) or job_input.get("files") or []
    if not isinstance(files, list):
        raise InvalidJobInput(["files: must be a list"])
    return files


def _files(given: Sequence[str]) -> list[dict[str, str]]:
    files = [_file(text) for text in given]
    twice = [name for name, count in Counter(file["name"] for file in files).items() if count > 1]
    if twice:
        raise InvalidJobInput([f"--file: {name!r} is there twice; write NAME=PATH for one of them" for name in twice])
    return files


def _file(text: str) -> dict[str, str]:
    """``PATH``, ``NAME=PATH`` or ``NAME=ADDRESS``; the content of a file here goes along as base64."""
    name, equals, source = text.partition("=")
    if text.startswith(ADDRESSES):  # an equals sign in it is the address's own
        name, equals, source = "", "", text
    elif not equals or os.path.isfile(text):  # noqa: PTH113 (Path's raises if the text is too long for a name)
        name, source = Path(text).name, text
    if source.startswith(ADDRESSES):
        if not equals or not name:
            raise InvalidJobInput([f"--file {text!r}: write NAME=ADDRESS, with the name that the workflow uses"])
        return {"name": name, "url": source}
    try:
        return {"name": name, "data": base64.b64encode(Path(source).read_bytes()).decode("ascii")}
    except OSError as error:
        raise InvalidJobInput([f"--file {shortened(text)!r}: cannot be read ({error.strerror or error})"]) from error
