"""What can be set in a workflow: the inputs that have a value of their own, and the files that they name. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from comfypod.comfyui.catalogue import Catalogue, linked_node
from comfypod.comfyui.checks import MODEL_SUFFIXES
from comfypod.schema.workflow import Workflow

_OFTEN_CHANGED = (
    *("text", "prompt", "positive", "seed", "noise_seed", "steps", "cfg", "width", "height", "batch_size", "length"),
    *("ckpt_name", "unet_name", "lora_name", "image", "video", "audio", "denoise", "filename_prefix"),
)
"""Names of inputs, those that most people change first in front."""


@dataclass(frozen=True, slots=True)
class Literal:
    """An input of a node with a value of its own; ``target`` is its name among a job's parameters (``NODE.INPUT``)."""

    target: str
    input_name: str
    value: Any
    class_type: str
    title: str
    often_changed: bool

    @property
    def node_id(self) -> str:
        """Its node."""
        return self.target.removesuffix(f".{self.input_name}")


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that an input names."""

    target: str
    name: str


def list_literals(workflow: Workflow) -> list[Literal]:
    """Every input that is no link: those that most people change first, then the others in the workflow's order."""
    found = list(_literals(workflow))
    order = {name: number for number, name in enumerate(_OFTEN_CHANGED)}
    return sorted(found, key=lambda item: order.get(item.input_name, len(order)))


def _literals(workflow: Workflow) -> Iterator[Literal]:
    for node_id, node in workflow.nodes.items():
        for name, value in node["inputs"].items():
            if linked_node(value) is None:
                title = workflow.title(node_id) or ""
                often = name in _OFTEN_CHANGED
                yield Literal(f"{node_id}.{name}", name, value, str(node["class_type"]), title, often)


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
