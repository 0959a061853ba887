"""Forms: what a person can set in a template, or in any workflow. Pure.

``described`` is what the endpoint has said of inputs, by class and name of the input; it may lack any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfypod.comfyui.catalogue import linked_node
from comfypod.comfyui.literals import Literal, list_literals
from comfypod.schema.template import Parameter, Template
from comfypod.schema.workflow import PARAMETER_CLASSES, Workflow
from comfypod.web.documents import Document
from comfypod.web.forms.fields import (
    FILE_KINDS,
    Described,
    Field,
    FieldKind,
    bounds_of,
    default_of,
    is_main,
    kind_of_input,
    label_of,
)

MOST_FIELDS = 1_000
"""More are no form; a workflow may have 10,000 nodes."""
_ROLES: Mapping[str, str] = {"positive": "Prompt", "negative": "Negative prompt"}
_GENERIC_TITLES = frozenset({"CLIP Text Encode", "CLIP Text Encode (Prompt)", "Text"})
"""Titles that ComfyUI gives by itself, and that say nothing of what a text is for."""
_PARAMETER_KINDS: Mapping[str, FieldKind] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "seed": "seed",
    "file": "file",
}
_HIDDEN_INPUTS = frozenset({"upload"})
"""The button beside LoadImage's list, which ComfyUI's page writes down as an input."""

Descriptions = Mapping[str, Mapping[str, Described]]


class Form(Document):
    """A form, and the workflow in API format that it fills in; None where only the endpoint can convert what was given.

    ``notes`` are sentences; ``is_described``: the endpoint has said what it has.
    """

    title: str
    workflow: dict[str, Any] | None
    fields: list[Field]
    notes: list[str]
    is_described: bool = False


class TemplateForm(Document):
    """A template of the list."""

    name: str
    description: str
    fields: list[Field]


def classes_of(workflow: Workflow) -> set[str]:
    """The classes of a workflow's nodes."""
    return {str(node["class_type"]) for node in workflow.nodes.values()}


def template_fields(template: Template, described: Descriptions) -> list[Field]:
    """The parameters of a template as fields, in its own order."""
    workflow = Workflow.parse(template.workflow)
    return [_parameter_field(name, item, workflow, described) for name, item in template.parameters.items()]


def _parameter_field(name: str, parameter: Parameter, workflow: Workflow, described: Descriptions) -> Field:
    """What the template says counts; what it leaves open, the first input that the value goes to tells."""
    class_type, input_name, value = _target(workflow, parameter.targets[0])
    said = described.get(class_type, {}).get(input_name)
    kind = _parameter_kind(parameter, kind_of_input(class_type, input_name, value, said))
    bounds = bounds_of(kind, said)
    own = {
        "minimum": parameter.minimum,
        "maximum": parameter.maximum,
        "multiple_of": parameter.multiple_of,
        "choices": parameter.choices,
        "description": parameter.description or None,
    }
    default = value if parameter.default is None else parameter.default
    return Field(
        name=name,
        label=label_of(name),
        kind=kind,
        default=default_of(kind, default, said),
        is_main=is_main(kind, input_name),
        **(bounds | {key: item for key, item in own.items() if item is not None}),
    )


def _parameter_kind(parameter: Parameter, found: FieldKind | None) -> FieldKind:
    """The template's type, made more exact by what the input is."""
    kind = _PARAMETER_KINDS[parameter.type]
    if parameter.choices is not None:
        return "choice"
    if kind == "text" and found in {"longtext", "choice"}:
        return found
    return found if kind == "file" and found in FILE_KINDS else kind


def _target(workflow: Workflow, target: str) -> tuple[str, str, Any]:
    """Class, name and value of the input that a template's target means; empty where it means none."""
    for node_id, node in workflow.nodes.items():
        name = target.removeprefix(f"{node_id}.")
        if name != target and name in node["inputs"]:
            return str(node["class_type"]), name, node["inputs"][name]
    return "", target.rpartition(".")[2], None


def workflow_fields(workflow: Workflow, described: Descriptions) -> list[Field]:
    """The inputs of a workflow's nodes as fields: prompts, files, sizes and seeds first."""
    roles = _roles(workflow)
    found = [(field, item) for item in list_literals(workflow) if (field := _field(item, workflow, roles, described))]
    found.sort(key=lambda pair: _rank(pair[0], roles.get(pair[1].node_id)))
    return [field for field, _ in found[:MOST_FIELDS]]


def _field(item: Literal, workflow: Workflow, roles: Mapping[str, str], described: Descriptions) -> Field | None:
    said = described.get(item.class_type, {}).get(item.input_name)
    kind = kind_of_input(item.class_type, item.input_name, item.value, said)
    if kind is None or item.input_name in _HIDDEN_INPUTS:
        return None
    field = Field(
        name=item.target,
        label=_text_label(item, roles) if kind == "longtext" else label_of(item.input_name),
        kind=kind,
        default=default_of(kind, item.value, said),
        group=item.title,
        is_main=is_main(kind, item.input_name),
        **bounds_of(kind, said),
    )
    if item.class_type not in PARAMETER_CLASSES:
        return field
    name = workflow.nodes[item.node_id]["inputs"].get("name")
    if item.input_name != "value" or not isinstance(name, str) or not name:
        return None  # the name itself, and what stands for an empty value, are the author's
    return field.changed(name=name, label=label_of(name), is_main=True)


def _text_label(item: Literal, roles: Mapping[str, str]) -> str:
    """The title that a person gave to the text's node; else what the text is for, if that can be seen."""
    is_own = item.title not in {item.class_type, *_GENERIC_TITLES}
    role = roles.get(item.node_id)
    return item.title if is_own else _ROLES[role] if role else label_of(item.input_name)


def _rank(field: Field, role: str | None) -> tuple[bool, int, int]:
    """Main fields first: texts (what is wanted, then what is not), files, the rest, seeds."""
    kinds = (field.kind == "longtext", field.kind in FILE_KINDS, field.kind != "seed", True)
    place = list(_ROLES).index(role) if role else len(_ROLES)
    return (False, kinds.index(True), place) if field.is_main else (True, 0, 0)


def _roles(workflow: Workflow) -> dict[str, str]:
    """What nodes are for whose output goes straight to an input of such a name, by id; not where it goes to both."""
    found: dict[str, set[str]] = {}
    for node in workflow.nodes.values():
        for name, value in node["inputs"].items():
            if name in _ROLES and (linked := linked_node(value)):
                found.setdefault(linked, set()).add(name)
    return {node_id: next(iter(names)) for node_id, names in found.items() if len(names) == 1}
