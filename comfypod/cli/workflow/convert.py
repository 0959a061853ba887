"""``comfypod workflow convert``: what ComfyUI's page saves, as its server takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from comfypod.cli.node_catalogue import find_node_source
from comfypod.cli.printing import write_error
from comfypod.cli.reports import print_text
from comfypod.cli.workflow.document import KIND_NAMES, Document, read_document
from comfypod.comfyui.catalogue import Catalogue
from comfypod.comfyui.ui_format.conversion import convert_ui_workflow, is_ui_format
from comfypod.errors import ConfigurationError, InvalidJobInput, InvalidWorkflow
from comfypod.schema.job import JobInput
from comfypod.schema.workflow import Workflow


def convert_command(given: str, output: Path | None, comfyui_url: str | None) -> int:
    """Print the API format of a document of the page, or write it to ``output``.

    Raises:
        InvalidWorkflow: it is none, or cannot be converted; why, with the node.
        ConfigurationError: ``output`` is the document itself, or cannot be written.
    """
    document = read_document(given)
    if document.kind != "ui_workflow":
        raise InvalidWorkflow(f"{given} is not a document of ComfyUI's page: {KIND_NAMES[document.kind]}")
    if output is not None and output.exists() and output.samefile(document.path):
        raise ConfigurationError([f"--output {output} is the document itself, whose layout would be lost."])
    source = find_node_source(comfyui_url, Path("models.toml"))
    workflow = api_format(document, source.catalogue)
    text = json.dumps(workflow.nodes, indent=2, ensure_ascii=False)
    if output is None:
        print_text(text)
    else:
        _write(output, text + "\n")
    write_error(f"{len(workflow.nodes)} nodes, with the node classes of {source.name}.")
    return 0


def api_format(document: Document, catalogue: Catalogue) -> Workflow:
    """The workflow of a document, or of a job that brings its own; converted if ComfyUI's page saved it.

    Raises:
        InvalidWorkflow: it is not one, or cannot be converted.
        InvalidJobInput: the job has none of its own.
    """
    content: Any = document.content
    if document.kind == "job":
        content = JobInput.parse(document.job_input).workflow
        if not isinstance(content, dict):
            raise InvalidJobInput(["workflow: the job brings none of its own"])
    return Workflow.parse(convert_ui_workflow(content, catalogue.object_info) if is_ui_format(content) else content)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError([f"{path} cannot be written ({error.strerror or error})."]) from error
