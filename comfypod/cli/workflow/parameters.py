"""``comfypod workflow parameters``: what can be set in a template or a workflow, and which files it names."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from comfypod.cli.node_catalogue import find_node_source
from comfypod.cli.reports import print_json, print_line, print_table, print_text
from comfypod.cli.workflow.convert import api_format
from comfypod.cli.workflow.document import TEMPLATES_FOLDER, Document, read_document
from comfypod.comfyui.catalogue import Catalogue, linked_node
from comfypod.comfyui.checks import MODEL_SUFFIXES
from comfypod.schema.template import Parameter, Template, load_template
from comfypod.schema.wire import shortened
from comfypod.schema.workflow import RANDOM, SEED_INPUTS, Workflow

_OFTEN_CHANGED = (
    *("text", "prompt", "positive", "seed", "noise_seed", "steps", "cfg", "width", "height", "batch_size", "length"),
    *("ckpt_name", "unet_name", "lora_name", "image", "video", "audio", "denoise", "filename_prefix"),
)
"""Names of inputs, those that most people change first in front."""


@dataclass(frozen=True, slots=True)
class Literal:
    """An input of a node with a value of its own; ``target`` is its name for ``--set`` (``NODE.INPUT``)."""

    target: str
    value: Any
    class_type: str
    title: str
    often_changed: bool


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that an input names."""

    target: str
    name: str


def parameters_command(given: str, comfyui_url: str | None, *, as_json: bool) -> int:
    """Print what can be set.

    Raises:
        InvalidWorkflow, InvalidJobInput: the file is no workflow.
        ConfigurationError: the template is not valid.
    """
    document = read_document(given)
    catalogue = find_node_source(comfyui_url, Path("models.toml")).catalogue
    template = _template_of(document)
    workflow = Workflow.parse(template.workflow) if template else api_format(document, catalogue)
    literals = list_literals(workflow)
    models, files = model_files(workflow), input_files(workflow, catalogue)
    if as_json:
        print_json(
            {
                "file": given,
                "template": template.name if template else None,
                "parameters": [_parameter_row(*item) for item in template.parameters.items()] if template else [],
                "inputs": [asdict(item) for item in literals],
                "models": [asdict(item) for item in models],
                "files": [asdict(item) for item in files],
            }
        )
        return 0
    if template is not None:
        _show_template(template)
    else:
        _show_literals(given, literals)
    _show_files("model", models)
    _show_files("input file", files)
    return 0


def _template_of(document: Document) -> Template | None:
    """The template that the document is, or that the job names."""
    if document.kind == "template":
        return load_template(document.templates_folder, document.path.stem)
    name = document.job_input.get("workflow") if isinstance(document.job_input, dict) else None
    return load_template(TEMPLATES_FOLDER, name) if isinstance(name, str) else None


def list_literals(workflow: Workflow) -> list[Literal]:
    """Every input that is no link: those that most people change first, then the others in the workflow's order."""
    found = list(_literals(workflow))
    order = {name: number for number, name in enumerate(_OFTEN_CHANGED)}
    return sorted(found, key=lambda item: order.get(_input_name(item), len(order)))


def _literals(workflow: Workflow) -> Iterator[Literal]:
    for node_id, node in workflow.nodes.items():
        for name, value in node["inputs"].items():
            if linked_node(value) is None:
                title = workflow.title(node_id) or ""
                often = name in _OFTEN_CHANGED
                yield Literal(f"{node_id}.{name}", value, str(node["class_type"]), title, often)


def _input_name(item: Literal) -> str:
    return item.target.rpartition(".")[2]


def model_files(workflow: Workflow) -> list[NamedFile]:
    """The model files that the workflow names, by their suffixes."""
    return [
        NamedFile(f"{node_id}.{name}", text)
        for node_id, name, text in workflow.texts()
        if PurePosixPath(text.replace("\\", "/")).suffix.lower() in MODEL_SUFFIXES
    ]


def input_files(workflow: Workflow, catalogue: Catalogue) -> list[NamedFile]:
    """The files of the input folder that the workflow loads: what a job sends along."""
    return [
        NamedFile(f"{node_id}.{name}", text)
        for node_id, name, text in workflow.texts()
        if (item := catalogue.inputs(workflow.class_type(node_id) or "").get(name)) is not None and item.is_upload
    ]


def _parameter_row(name: str, parameter: Parameter) -> dict[str, Any]:
    return {"name": name, **parameter.model_dump(exclude_none=True), "set": _set_option(name, parameter.default)}


def _show_template(template: Template) -> None:
    print_line(template.name, template.description or "a template", "bold")
    rows = [
        (name, item.type, _limits(item), _json(item.default), item.description, _set_option(name, item.default))
        for name, item in template.parameters.items()
    ]
    print_table(("parameter", "type", "limits", "default", "meaning", "how to set it"), rows)
    print_text("Inputs of its nodes can be set too (--set NODE.INPUT=VALUE); --json lists them.")


def _limits(item: Parameter) -> str:
    parts = [f"{item.minimum} or more"] if item.minimum is not None and item.maximum is None else []
    parts += [f"{item.maximum} or less"] if item.maximum is not None and item.minimum is None else []
    parts += [f"{item.minimum} to {item.maximum}"] if None not in {item.minimum, item.maximum} else []
    parts += [f"multiple of {item.multiple_of}"] if item.multiple_of else []
    parts += [", ".join(item.choices)] if item.choices else []
    parts += [f'or "{RANDOM}"'] if item.type == "seed" else []
    return ", ".join(parts)


def _show_literals(given: str, literals: Sequence[Literal]) -> None:
    rows = [
        ("*" if item.often_changed else "", item.target, shortened(_json(item.value), 60), item.class_type, item.title)
        for item in literals
    ]
    print_table(("", "input", "value", "class", "title"), rows)
    if literals:
        example = literals[0]
        print_text(
            f"* changed most often. Set one: comfypod run {shlex.quote(given)} {_set_option(example.target, None)}"
        )
    if seed := next((item.target for item in literals if _input_name(item) in SEED_INPUTS), None):
        print_text(f"A new seed for every job: --set {seed}={RANDOM}")


def _show_files(label: str, files: Sequence[NamedFile]) -> None:
    for file in files:
        print_line(label, f"{file.name} ({file.target})", "cyan")


def _set_option(name: str, value: Any) -> str:  # noqa: ANN401 (any JSON)
    """The option with the value that is there, as a shell takes it; ``…`` where none is."""
    if value is None:
        return f"--set {shlex.quote(name)}=…"
    text = value if isinstance(value, str) else json.dumps(value)
    return f"--set {shlex.quote(f'{name}={text}')}"


def _json(value: Any) -> str:  # noqa: ANN401 (any JSON)
    return "" if value is None else json.dumps(value, ensure_ascii=False)
