"""``comfypod workflow parameters``: what can be set in a template or a workflow, and which files it names."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from comfypod.cli.connection import Target
from comfypod.cli.node_catalogue import find_node_source
from comfypod.cli.reports import print_json, print_line, print_table, print_text
from comfypod.cli.workflow.asking import ask_endpoint, inputs_by_target, taken
from comfypod.cli.workflow.convert import api_format
from comfypod.cli.workflow.document import TEMPLATES_FOLDER, Document, read_document
from comfypod.comfyui.literals import Literal, NamedFile, input_files, list_literals, model_files
from comfypod.errors import ProtocolViolation
from comfypod.schema.template import Parameter, Template, load_template
from comfypod.schema.wire import shortened
from comfypod.schema.workflow import RANDOM, SEED_INPUTS, Workflow


@dataclass(frozen=True, slots=True)
class Settable:
    """A workflow, with the template that it comes from; ``description`` is a worker's own, if one was asked."""

    workflow: Workflow
    template: Template | None
    files: Sequence[NamedFile]
    description: Mapping[str, Any] | None = None


def parameters_command(given: str, comfyui_url: str | None, target: Target | None, *, as_json: bool) -> int:
    """Print what can be set, as a worker of ``target`` says it, if there is one.

    Raises:
        InvalidWorkflow, InvalidJobInput: the file is no workflow.
        ConfigurationError: the template is not valid.
        ComfyPodError: the endpoint does not describe it.
    """
    document = read_document(given)
    found = _look(document, comfyui_url) if target is None else _ask(document, target, quiet=as_json)
    if as_json:
        print_json(_to_json(given, found))
        return 0
    if found.template is not None:
        _show_template(found.template)
    else:
        _show_literals(given, list_literals(found.workflow), found.description)
    _show_files("model", model_files(found.workflow))
    _show_files("input file", found.files)
    for problem in (found.description or {}).get("problems", ()):
        print_line("problem", problem, "bold red")
    return 0


def _look(document: Document, comfyui_url: str | None) -> Settable:
    catalogue = find_node_source(comfyui_url, Path("models.toml")).catalogue
    template = _template_of(document)
    workflow = Workflow.parse(template.workflow) if template else api_format(document, catalogue)
    return Settable(workflow, template, input_files(workflow, catalogue))


def _ask(document: Document, target: Target, *, quiet: bool) -> Settable:
    description = ask_endpoint(document, target, quiet=quiet)
    workflow = Workflow.parse(description["workflow"])
    template = _described_template(document.path.stem, description)
    inputs = inputs_by_target(description)
    named = [NamedFile(f"{node_id}.{name}", text) for node_id, name, text in workflow.texts()]
    files = [file for file in named if inputs.get(file.target, {}).get("upload")]
    return Settable(workflow, template, files, description)


def _described_template(name: str, description: Mapping[str, Any]) -> Template | None:
    """The worker's own template, which may be another than the one here."""
    if not description["parameters"]:
        return None
    fields = {key: description[key] for key in ("parameters", "workflow")}
    try:
        return Template.model_validate({"name": name, **fields})
    except ValidationError as error:
        raise ProtocolViolation("The worker", f"no template: {error}"[:300]) from error


def _to_json(given: str, found: Settable) -> dict[str, Any]:
    template = found.template
    document = {
        "file": given,
        "template": template.name if template else None,
        "parameters": [_parameter_row(*item) for item in template.parameters.items()] if template else [],
        "inputs": [asdict(item) for item in list_literals(found.workflow)],
        "models": [asdict(item) for item in model_files(found.workflow)],
        "files": [asdict(item) for item in found.files],
    }
    told = found.description
    return document if told is None else {**document, "nodes": told["nodes"], "problems": told["problems"]}


def _template_of(document: Document) -> Template | None:
    """The template that the document is, or that the job names."""
    if document.kind == "template":
        return load_template(document.templates_folder, document.path.stem)
    name = document.job_input.get("workflow") if isinstance(document.job_input, dict) else None
    return load_template(TEMPLATES_FOLDER, name) if isinstance(name, str) else None


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


def _show_literals(given: str, literals: Sequence[Literal], description: Mapping[str, Any] | None) -> None:
    columns = ["", "input", "value", "class", "title"]
    rows = [
        ["*" if item.often_changed else "", item.target, shortened(_json(item.value), 60), item.class_type, item.title]
        for item in literals
    ]
    if description is not None:
        columns.append("takes")
        inputs = inputs_by_target(description)
        for item, row in zip(literals, rows, strict=True):
            row.append(taken(inputs.get(item.target, {})))
    print_table(columns, rows)
    if literals:
        example = literals[0]
        print_text(
            f"* changed most often. Set one: comfypod run {shlex.quote(given)} {_set_option(example.target, None)}"
        )
    if seed := next((item.target for item in literals if item.input_name in SEED_INPUTS), None):
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
