"""The workflow: ComfyUI's API-format document, checked for its shape only (what a node accepts, ComfyUI knows)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from comfypod.errors import InvalidWorkflow
from comfypod.schema.wire import listed, shortened

RANDOM = "random"
"""The value of a seed that is to be drawn."""
SEED_INPUTS = ("seed", "noise_seed")
ALL_SEEDS = "seed"
"""The parameter that means all of them."""
PARAMETER_CLASSES = frozenset({"ComfypodText", "ComfypodNumber"})
"""Nodes of our own pack (``custom_nodes/comfypod_nodes``) that give their ``value`` to others, under a ``name``."""
MOST_NODES = 10_000
"""Larger documents are no workflow of a person: ComfyUI's own validation ends at a chain of about 1,000 nodes."""

MOST_POINTS = 10
"""More of them have no names of nodes and inputs."""

DrawSeed = Callable[[str], int]
"""``draw(name)`` is the random seed of that name: the same one whenever it is asked for."""

EXPORT_HINT = "in ComfyUI choose Workflow > Export (API) and send that file"


@dataclass(frozen=True, slots=True)
class Workflow:
    """An API-format workflow: ``{node id: {"class_type": str, "inputs": {…}, "_meta": {"title": str}}}``."""

    nodes: Mapping[str, Mapping[str, Any]]

    @classmethod
    def parse(cls, document: Any) -> Workflow:  # noqa: ANN401 (foreign JSON)
        """Check the shape of ``document``.

        Raises:
            InvalidWorkflow: not an object, empty, a UI export, the whole body of ``POST /prompt``, or a malformed node.
        """
        if not isinstance(document, dict):
            raise InvalidWorkflow(f"A workflow is a JSON object, not {_kind(document)}; {EXPORT_HINT}")
        if not document:
            raise InvalidWorkflow(f"The workflow has no nodes; {EXPORT_HINT}")
        if isinstance(document.get("nodes"), list):
            raise InvalidWorkflow(f"This is the UI format, which ComfyUI cannot run; {EXPORT_HINT}")
        if isinstance(document.get("prompt"), dict) and "class_type" not in document["prompt"]:
            raise InvalidWorkflow('This is the body of POST /prompt; send only what stands under "prompt"')
        if len(document) > MOST_NODES:
            raise InvalidWorkflow(f"The workflow has {len(document):,} nodes; at most {MOST_NODES:,} are accepted")
        for node_id, node in document.items():
            _check_node(node_id, node)
        return cls(document)

    def class_type(self, node_id: str) -> str | None:
        """The class of a node, or None for an id that is not in the workflow (nodes expanded at run time)."""
        node = self.nodes.get(node_id)
        return None if node is None else str(node["class_type"])

    def title(self, node_id: str) -> str | None:
        """The title a person gave to a node, else its class."""
        node = self.nodes.get(node_id)
        if node is None:
            return None
        meta = node.get("_meta")
        title = meta.get("title") if isinstance(meta, dict) else None
        return title if isinstance(title, str) and title else str(node["class_type"])

    def with_inputs(self, values: Mapping[str, Any]) -> Workflow:
        """A copy in which the inputs that ``values`` names (``NODE.INPUT``, for example ``6.text``) are replaced.

        A node of `PARAMETER_CLASSES` may be meant by the name that it has in the workflow. ``seed`` alone means every
        seed that is not connected, but those that are named themselves; and such nodes of that name.

        Raises:
            InvalidWorkflow: there is no such node, the node has no such input, or no seed can be set.
        """
        parameters = self._parameters()
        seeds = [*self._seeds(), *parameters.get(ALL_SEEDS, ())] if ALL_SEEDS in values else []
        if ALL_SEEDS in values and not seeds:
            raise InvalidWorkflow(f"{ALL_SEEDS}: no node of this workflow has a seed that could be set")
        named = {
            place: value
            for target, value in values.items()
            if target != ALL_SEEDS
            for place in parameters.get(target) or [self._input(target)]
        }
        return self.with_values({**dict.fromkeys(seeds, values.get(ALL_SEEDS)), **named})

    def _parameters(self) -> dict[str, list[tuple[str, str]]]:
        """Where the values of named parameters go; several nodes may have the same name."""
        found: dict[str, list[tuple[str, str]]] = {}
        for node_id, node in self.nodes.items():
            name = node["inputs"].get("name") if node["class_type"] in PARAMETER_CLASSES else None
            if isinstance(name, str) and name:
                found.setdefault(name, []).append((node_id, "value"))
        return found

    def with_values(self, values: Mapping[tuple[str, str], Any]) -> Workflow:
        """A copy in which these inputs, by node id and name, have these values."""
        nodes = copy.deepcopy(dict(self.nodes))
        for (node_id, name), value in values.items():
            nodes[node_id]["inputs"][name] = value
        return Workflow(nodes)

    def _input(self, target: str) -> tuple[str, str]:
        """The node id and the name of the input that ``NODE.INPUT`` means; both may have points in them."""
        parts = target.split(".")
        places = range(1, min(len(parts), MOST_POINTS))
        splits = [(".".join(parts[:place]), ".".join(parts[place:])) for place in places]
        for node_id, name in splits:
            if node_id in self.nodes and name in self.nodes[node_id]["inputs"]:
                return node_id, name
        inputs = next((self.nodes[node_id]["inputs"] for node_id, _ in splits if node_id in self.nodes), None)
        known = listed([f"{parts[0]}.{key}" for key in inputs] if inputs else [*self._parameters(), *self.nodes])
        raise InvalidWorkflow(f"There is no input {shortened(target)!r}; there is: {known}")

    def _seeds(self) -> list[tuple[str, str]]:
        """Every seed that has a value of its own; one that is connected gets it from elsewhere."""
        return [
            (node_id, name)
            for node_id, node in self.nodes.items()
            for name in SEED_INPUTS
            if name in node["inputs"] and not isinstance(node["inputs"][name], list)
        ]

    def with_seeds(self, draw: DrawSeed) -> Workflow:
        """A copy in which every seed that is ``"random"`` is drawn, under the name ``NODE.INPUT``."""
        wanted = [
            (node_id, name)
            for node_id, node in self.nodes.items()
            for name in SEED_INPUTS
            if node["inputs"].get(name) == RANDOM
        ]
        return self.with_values({(node_id, name): draw(f"{node_id}.{name}") for node_id, name in wanted})

    def texts(self) -> Iterator[tuple[str, str, str]]:
        """Every input that is a text: node id, name of the input, text."""
        for node_id, node in self.nodes.items():
            for name, value in node["inputs"].items():
                if isinstance(value, str):
                    yield node_id, name, value


def _check_node(node_id: str, node: Any) -> None:  # noqa: ANN401
    if not isinstance(node, dict):
        raise InvalidWorkflow(f"a node is an object with class_type and inputs, not {_kind(node)}", node_id)
    if not isinstance(node.get("class_type"), str):
        raise InvalidWorkflow(f"class_type is missing or not a text; {EXPORT_HINT}", node_id)
    if not isinstance(node.get("inputs"), dict):
        raise InvalidWorkflow("inputs is missing or not an object", node_id)


def _kind(value: Any) -> str:  # noqa: ANN401
    kinds: dict[type, str] = {str: "a text", list: "a list", bool: "a truth value", int: "a number", float: "a number"}
    return "null" if value is None else kinds.get(type(value), type(value).__name__)
