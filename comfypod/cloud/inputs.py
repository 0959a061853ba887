"""What is sent: the job's input from what a program has at hand, and the body of ``POST /run`` around it."""

from __future__ import annotations

import base64
import json
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfypod.cloud.workflow_kinds import kind_of
from comfypod.errors import InvalidJobInput

LARGEST_BODY_BYTES = 10_000_000
"""Of ``POST /run`` (docs.runpod.io, "Operation reference": 10 MB; whether of 1,000,000 bytes, it does not say)."""

FileSource = str | os.PathLike[str] | bytes
Files = Mapping[str, FileSource] | Iterable[str | os.PathLike[str] | Mapping[str, Any]]
"""Name to path, content or address; or paths, whose last part is the name; or entries as they are sent."""

ADDRESSES = ("https://", "http://", "s3://")
"""How the address of a file begins; anything else is a path."""
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.:-]{1,200}")


@dataclass(frozen=True, slots=True)
class Policy:
    """What RunPod is told besides the input (docs.runpod.io, "Send API requests"); None where its default counts."""

    webhook: str | None = None
    execution_timeout_seconds: float | None = None
    ttl_seconds: float | None = None
    low_priority: bool = False
    s3_config: Mapping[str, str] | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The fields beside ``input``."""
        policy = {
            "executionTimeout": _milliseconds("execution_timeout_seconds", self.execution_timeout_seconds),
            "ttl": _milliseconds("ttl_seconds", self.ttl_seconds),
            "lowPriority": self.low_priority or None,
        }
        policy = {name: value for name, value in policy.items() if value is not None}
        document = {"webhook": self.webhook, "policy": policy or None, "s3Config": self.s3_config}
        return {name: value for name, value in document.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Submission:
    """A job as it is sent: the body, and the key by which it can be found again."""

    body: bytes = field(repr=False)
    idempotency_key: str

    @classmethod
    def of(cls, job_input: Mapping[str, Any], policy: Policy, idempotency_key: str | None) -> Submission:
        """The body with ``job_input``, to which the key is added; one is drawn if none is given.

        Raises:
            InvalidJobInput: the input is empty, no JSON, or too large; or the key is malformed.
        """
        if not job_input:
            raise InvalidJobInput(["input: is empty; RunPod never gives such a job to a worker"])
        if not isinstance(job_input, Mapping):
            raise InvalidJobInput([f"input: must be an object, not {job_input!r:.100}"])
        key = idempotency_key or job_input.get("idempotency_key") or uuid.uuid4().hex
        if not isinstance(key, str) or not _PLAIN_KEY.fullmatch(key):
            raise InvalidJobInput(["idempotency_key: must be 1 to 200 of letters, digits and _ . : -"])
        body = _encoded({"input": {**job_input, "idempotency_key": key}, **policy.to_json()})
        if len(body) > LARGEST_BODY_BYTES:
            problem = f"is {len(body):,} bytes as JSON, and RunPod takes at most {LARGEST_BODY_BYTES:,}"
            raise InvalidJobInput([f"input: {problem}; put large files into a bucket, and send their addresses"])
        return cls(body, key)


def make_job_input(
    workflow: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    *,
    prompt: str | None = None,
    files: Files | None = None,
    previews: bool = False,
    **others: Any,  # noqa: ANN401 (any JSON)
) -> dict[str, Any]:
    """The job's input (``docs/reference/job.md``); fields that are None are left out.

    Raises:
        InvalidJobInput: there is neither workflow nor prompt, or a file cannot be read.
    """
    job_input = {
        "workflow": None if workflow is None else read_workflow(workflow),
        "prompt": prompt,
        "files": None if files is None else _files(files),
        **others,
    }
    if previews:
        given = others.get("progress")
        job_input["progress"] = {**(given if isinstance(given, Mapping) else {}), "previews": True}
    job_input = {name: value for name, value in job_input.items() if value is not None}
    if "workflow" not in job_input and "prompt" not in job_input:
        raise InvalidJobInput(["input: give a workflow (its document, its file, or a template's name) or a prompt"])
    return job_input


def read_workflow(workflow: Mapping[str, Any] | str | os.PathLike[str]) -> dict[str, Any] | str:
    """The document of a workflow, or a template's name; a text is a file if it ends in ``.json`` or has a folder.

    A template's file is not sent: the worker has its templates, so its name is.

    Raises:
        InvalidJobInput: the file cannot be read, or holds no workflow.
    """
    if isinstance(workflow, Mapping):
        return _own_or_name(workflow, "this")
    if not isinstance(workflow, str | os.PathLike):
        raise InvalidJobInput(["workflow: give its document, the path of its file, or a template's name"])
    if isinstance(workflow, str) and not workflow.endswith(".json") and not _has_folder(workflow):
        return workflow
    path = Path(workflow)
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidJobInput([f"workflow: {path} cannot be read ({error.strerror or error})"]) from error
    except (ValueError, RecursionError) as error:
        raise InvalidJobInput([f"workflow: {path} is not JSON ({error})"]) from error
    if not isinstance(document, dict):
        raise InvalidJobInput([f"workflow: {path} holds no workflow; in ComfyUI choose Workflow > Export (API)"])
    return _own_or_name(document, str(path))


def _own_or_name(document: Mapping[str, Any], what: str) -> dict[str, Any] | str:
    """A workflow as it is; of a template its name."""
    kind = kind_of(document)
    if kind == "job":
        raise InvalidJobInput([f"workflow: {what} is a whole job; send what is in its input with submit_input"])
    if kind == "job_input":
        raise InvalidJobInput([f"workflow: {what} is a whole job's input; send it with submit_input"])
    return str(document["name"]) if kind == "template" else dict(document)


def _has_folder(text: str) -> bool:
    return any(separator in text for separator in (os.sep, os.altsep, "/") if separator)


def _files(files: Files) -> list[dict[str, Any]]:
    if isinstance(files, Mapping):
        return [_file(name, source) for name, source in files.items()]
    if isinstance(files, str | bytes | os.PathLike) or not isinstance(files, Iterable):
        raise InvalidJobInput(['files: give a list of paths, or names with what each one holds, such as {"a.png": …}'])
    return [dict(item) if isinstance(item, Mapping) else _file(_name_of(item), item) for item in files]


def _name_of(path: str | os.PathLike[str]) -> str:
    if not isinstance(path, str | os.PathLike):
        raise InvalidJobInput([f"files: {path!r:.100} is no path"])
    if isinstance(path, str) and path.startswith(ADDRESSES):
        raise InvalidJobInput(['files: an address needs the name that the workflow uses: {"photo.png": "https://…"}'])
    return Path(path).name


def _file(name: str, source: FileSource) -> dict[str, str]:
    if isinstance(source, str) and source.startswith(ADDRESSES):
        return {"name": name, "url": source}
    if not isinstance(source, str | bytes | os.PathLike):
        raise InvalidJobInput([f"files: {name!r} must be a path, bytes or an address, not {source!r:.100}"])
    try:
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
    except (OSError, ValueError) as error:  # the latter: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise InvalidJobInput([f"files: {os.fspath(source)!r:.300} cannot be read ({reason})"]) from error
    return {"name": name, "data": base64.b64encode(content).decode("ascii")}


def _encoded(document: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidJobInput([f"input: is no JSON ({error})"]) from error


def _milliseconds(name: str, seconds: float | None) -> int | None:
    if seconds is None:
        return None
    if not isinstance(seconds, int | float) or not 0 < seconds < 1e9:
        raise InvalidJobInput([f"{name}: must be a number of seconds above 0"])
    return round(seconds * 1000)
