"""A description: what can be set in a workflow on the worker that was asked, and what of it would be refused there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from comfypod.schema.wire import json_safe

UploadKind = Literal["image", "audio", "video", "file"]
"""What a file that comes with the job holds."""


@dataclass(frozen=True, slots=True)
class InputDescription:
    """An input that takes a value, as ComfyUI's page shows it.

    ``type`` is that of the widget: INT, FLOAT, STRING, BOOLEAN, COMBO, or a rarer one. ``choices`` are None where
    anything of the type may be given; ``is_cut``: there are more than are told here. ``upload``: it names a file, which
    may come with the job. ``is_seed``: the page draws a new value for each run.
    """

    type: str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: Sequence[Any] | None = None
    is_cut: bool = False
    is_multiline: bool = False
    upload: UploadKind | None = None
    is_seed: bool = False
    tooltip: str = ""


@dataclass(frozen=True, slots=True)
class NodeDescription:
    """A node; ``is_known``: the worker's ComfyUI has its class, without which nothing is known of its inputs."""

    class_type: str
    title: str
    is_known: bool
    inputs: Mapping[str, InputDescription] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Description:
    """A workflow in API format; if it is a template's, the parameters of that; its nodes by id; and its problems."""

    workflow: Mapping[str, Any]
    parameters: Mapping[str, Mapping[str, Any]]
    nodes: Mapping[str, NodeDescription]
    problems: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """The description as JSON."""
        return {
            "workflow": json_safe(self.workflow),
            "parameters": json_safe(self.parameters),
            "nodes": {json_safe(node_id): _node_to_json(node) for node_id, node in self.nodes.items()},
            "problems": json_safe(self.problems),
        }


def _node_to_json(node: NodeDescription) -> dict[str, Any]:
    inputs = {json_safe(name): _fields(item) for name, item in node.inputs.items()}
    return {**_fields(node, but="inputs"), "inputs": inputs}


def _fields(item: InputDescription | NodeDescription, but: str = "") -> dict[str, Any]:
    """The fields as JSON; `dataclasses.asdict` would copy thousands of choices one by one."""
    return {name: json_safe(getattr(item, name)) for name in item.__slots__ if name != but}
