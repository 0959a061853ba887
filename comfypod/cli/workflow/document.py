"""A file that is meant as a workflow, and what it turns out to be."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfypod.cloud.workflow_kinds import WorkflowKind, kind_of
from comfypod.errors import InvalidWorkflow
from comfypod.schema.template import load_template

TEMPLATES_FOLDER = Path("workflows")

KIND_NAMES: Mapping[WorkflowKind, str] = {
    "workflow": "API format",
    "ui_workflow": "as ComfyUI's page saves it",
    "template": "template",
    "job": "job",
}


@dataclass(frozen=True, slots=True)
class Document:
    """A document and its kind (never ``job_input``); ``path`` is where it stood."""

    path: Path
    kind: WorkflowKind
    content: Mapping[str, Any]

    @property
    def job_input(self) -> Any:  # noqa: ANN401 (any JSON)
        """The value of ``input`` of a job that runs it; a template is named, as callers do."""
        if self.kind == "job":
            return self.content["input"]
        return {"workflow": self.path.stem if self.kind == "template" else self.content}

    @property
    def templates_folder(self) -> Path:
        """Where a worker would look for the template that the job names."""
        return self.path.parent if self.kind == "template" else TEMPLATES_FOLDER


def read_document(given: str) -> Document:
    """Read a file, or the template of that name in ``workflows/``.

    Raises:
        InvalidWorkflow: the file cannot be read, is not JSON, or not an object.
        InvalidJobInput: there is no such template.
    """
    path = Path(given)
    if path.suffix != ".json" and not os.path.exists(path):  # noqa: PTH110 (Path's raises if the text is too long)
        load_template(TEMPLATES_FOLDER, given)  # says which there are
        path = TEMPLATES_FOLDER / f"{given}.json"
    content = _read_json(path)
    if not isinstance(content, dict):
        raise InvalidWorkflow(f"{path} holds no JSON object, so it is neither a workflow nor a job")
    kind = kind_of(content)
    if kind == "job_input":
        raise InvalidWorkflow('This looks like the input of a job; put it under "input": {"input": {"workflow": …}}')
    return Document(path, kind, content)


def _read_json(path: Path) -> Any:  # noqa: ANN401 (any JSON)
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InvalidWorkflow(f"There is no file {path}{_near(path)}") from error
    except OSError as error:
        raise InvalidWorkflow(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise InvalidWorkflow(f"{path} is not JSON ({error})") from error


def _near(path: Path) -> str:
    """What a person may have meant."""
    names = sorted(file.name for file in path.parent.glob("*.json"))
    near = difflib.get_close_matches(path.name, names, n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""
