"""What the plan must know of an item: its assets and its work; worked out once for all items that agree in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from comfypod.batch.manifest.library import Assets, ModelLibrary
from comfypod.batch.manifest.loaders import is_loader, may_be_model, named_files
from comfypod.batch.manifest.reading import Place, WorkflowReading
from comfypod.batch.manifest.work import megapixel_steps
from comfypod.schema.workflow import Workflow

MOST_KEPT: Final = 20_000
MOST_SHAPES: Final = 1000
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


class Fillable(Protocol):
    """What parameters are put into."""

    def filled(self, parameters: Mapping[str, Any]) -> Workflow:
        """The workflow with these values; raises `InvalidJobInput` or `InvalidWorkflow`."""

    def places(self, name: str) -> frozenset[Place]:
        """Where the value of a parameter goes."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one item: its assets, and its work in megapixel-steps."""

    assets: Assets
    work: float


class KnownFacts:
    """Facts of one workflow with whatever parameters; what depends on none of them is not worked out again.

    A workflow's prompt or seed has no influence on what is loaded, and very many items differ in nothing else.
    """

    def __init__(self, fillable: Fillable, workflows: KnownWorkflows) -> None:
        self._fillable = fillable
        self._workflows = workflows
        self._read: frozenset[Place] = frozenset()
        self._matters: dict[str, bool] = {}
        self._known: dict[object, Facts] = {}

    def of(self, parameters: Mapping[str, Any]) -> Facts:
        """The facts of an item with these parameters, which are known to fit."""
        key = self._key(parameters)
        if key is not None and (known := self._known.get(key)) is not None:
            return known
        facts, read = self._workflows.of(self._fillable.filled(parameters))
        if not read <= self._read:  # more matters than was known so far
            self._read |= read
            self._matters.clear()
            self._known.clear()
            key = self._key(parameters)
        if key is not None:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[key] = facts
        return facts

    def _key(self, parameters: Mapping[str, Any]) -> object | None:
        """The names of the parameters, with the values of those that matter; None if one cannot be compared."""
        parts: list[Any] = []
        for name, value in parameters.items():
            matters = self._matters.get(name)
            if matters is None:
                matters = self._matters[name] = not self._read.isdisjoint(self._fillable.places(name))
            if type(value) not in _SCALARS:
                return None
            parts.append(name)
            if matters or (type(value) is str and may_be_model(value)):
                parts.append((type(value), value))
        return tuple(parts)


class KnownWorkflows:
    """Facts of whole workflows; one that differs from another only in what does not matter is not worked out again."""

    def __init__(self, library: ModelLibrary) -> None:
        self._library = library
        self._alike: dict[object, _Alike] = {}

    def of(self, workflow: Workflow) -> tuple[Facts, frozenset[Place]]:
        """What is known of a workflow, and the places whose values it depends on."""
        shape, texts = _shape(workflow.nodes)
        alike = self._alike.get(shape)
        if alike is None:
            if len(self._alike) >= MOST_SHAPES:
                self._alike.clear()
            alike = self._alike[shape] = _Alike()
        key = (alike.values(workflow.nodes), texts)
        facts = alike.known.get(key)
        if facts is None:
            facts, read = facts_of(workflow, self._library)
            if not read <= alike.read or len(alike.known) >= MOST_KEPT:
                alike.read |= read
                alike.known.clear()
                key = (alike.values(workflow.nodes), texts)
            alike.known[key] = facts
        return facts, alike.read


class _Alike:
    """Workflows with the same nodes and links. ``known`` has their facts by the values of the places that matter."""

    def __init__(self) -> None:
        self.read: frozenset[Place] = frozenset()
        self.known: dict[object, Facts] = {}

    def values(self, nodes: Mapping[str, Mapping[str, Any]]) -> object:
        """Those of the places that matter; links and the like are in the shape."""
        found = (nodes[node_id]["inputs"].get(name) for node_id, name in self.read if node_id in nodes)
        return tuple((type(value), value) for value in found if type(value) in _SCALARS)


def _shape(nodes: Mapping[str, Mapping[str, Any]]) -> tuple[object, object]:
    """All of a workflow but its numbers and texts; and those of the texts that may name a model file."""
    shape: list[object] = []
    texts: list[tuple[str, str, str]] = []
    for node_id, node in nodes.items():
        shape += (node_id, node["class_type"])
        for name, value in node["inputs"].items():
            kind = type(value)
            shape.append(name)
            if kind is str and may_be_model(value):
                texts.append((node_id, name, value))
            elif kind not in _SCALARS:
                shape.append((json.dumps(value),))
        shape.append(None)
    return tuple(shape), tuple(texts)


def facts_of(workflow: Workflow, library: ModelLibrary) -> tuple[Facts, frozenset[Place]]:
    """What is known of a workflow from its nodes, and the places whose values it depends on."""
    reading = WorkflowReading(workflow.nodes)
    needed = reading.needed({node_id: not is_loader(reading, node_id) for node_id in workflow.nodes})
    assets = library.assets_of(named_files(reading, needed))
    facts = Facts(assets, megapixel_steps(reading, needed))
    links = {(node_id, name) for node_id in needed for name in reading.inputs(node_id) if reading.link(node_id, name)}
    return facts, frozenset(reading.read | links)
