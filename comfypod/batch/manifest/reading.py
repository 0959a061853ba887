"""A workflow's inputs as they will be when it runs, and which of them were looked at. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from comfypod.comfyui.catalogue import linked_node
from comfypod.schema.wire import as_list
from comfypod.schema.workflow import PARAMETER_CLASSES

Place = tuple[str, str]
"""A node's id, and the name of an input of it."""

MOST_LINKS: Final = 50
"""Longer chains of nodes that only hand on a value are followed no further."""
_VALUE_CLASSES: Final = frozenset({"INTConstant", "FloatConstant", "StringConstant"})
"""Nodes of a wide-spread pack (KJNodes) that hold a ``value``, as ComfyUI's own ``Primitive…`` do."""


class WorkflowReading:
    """The nodes of one workflow; ``read`` has every place whose value what was found depends on."""

    def __init__(self, nodes: Mapping[str, Mapping[str, Any]]) -> None:
        self.nodes = nodes
        self.read: set[Place] = set()

    def class_type(self, node_id: str) -> str:
        """The class of a node; empty for one that is not there."""
        return str(self.nodes[node_id]["class_type"]) if node_id in self.nodes else ""

    def inputs(self, node_id: str) -> Mapping[str, Any]:
        """The inputs of a node, as they are written; nothing of it counts as read."""
        found: Mapping[str, Any] = self.nodes[node_id]["inputs"] if node_id in self.nodes else {}
        return found

    def value(self, node_id: str, name: str) -> Any:  # noqa: ANN401 (any JSON)
        """The value of an input, through links to nodes that only hold one; None if another node computes it."""
        for _ in range(MOST_LINKS):
            self.read.add((node_id, name))
            value = self.inputs(node_id).get(name)
            linked = linked_node(value)
            if linked is None:
                return value
            if not _holds_a_value(self.class_type(linked)):
                return None
            node_id, name = linked, "value"
        return None

    def number(self, node_id: str, name: str) -> float | None:
        """The value of an input if it is a number above zero."""
        value = self.value(node_id, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if is_number and 0 < value < float("inf") else None

    def link(self, node_id: str, name: str) -> tuple[str, Any] | None:
        """The node that an input is linked to, and its output's number."""
        value = self.inputs(node_id).get(name)
        linked = linked_node(value)
        return (linked, as_list(value)[1]) if linked is not None and linked in self.nodes else None

    def needed(self, is_end: Mapping[str, bool]) -> list[str]:
        """Ids of the nodes that run, each after those that it needs.

        A workflow runs for the sake of what nobody is linked to, but nodes that only load something: ``is_end`` says of
        each node whether it may be such an end. Which ones save something only a ComfyUI knows.
        """
        used = {linked for node_id in self.nodes for linked in self._links(node_id)}
        ends = [node_id for node_id in self.nodes if node_id not in used and is_end[node_id]]
        return list(self._after_their_sources(ends or list(self.nodes)))

    def _links(self, node_id: str) -> list[str]:
        linked = (linked_node(value) for value in self.inputs(node_id).values())
        return [node for node in linked if node is not None and node in self.nodes]

    def _after_their_sources(self, ends: list[str]) -> Iterator[str]:
        """Depth first, not recursive: a hostile chain of nodes is longer than the stack."""
        entered: set[str] = set()
        left: set[str] = set()
        stack = ends[::-1]
        while stack:
            node_id = stack[-1]
            if node_id in entered:
                stack.pop()
                if node_id not in left:
                    left.add(node_id)
                    yield node_id
                continue
            entered.add(node_id)
            stack += [linked for linked in reversed(self._links(node_id)) if linked not in entered]


def _holds_a_value(class_type: str) -> bool:
    return class_type in PARAMETER_CLASSES or class_type in _VALUE_CLASSES or class_type.startswith("Primitive")
