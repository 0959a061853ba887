"""A UI export as a typed graph: what "Save" and "Export" of ComfyUI's front end write. Pure.

Two versions are in use. 0.4 writes links as lists, ``[id, from node, slot, to node, slot, type]``; 1 writes objects,
``{"id", "origin_id", "origin_slot", "target_id", "target_slot", "type"}``. Subgraphs
(``definitions.subgraphs``) always have the second form. Either is read wherever it stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from comfypod.errors import InvalidWorkflow
from comfypod.schema.wire import as_object
from comfypod.schema.workflow import EXPORT_HINT

MAXIMUM_NODES = 20_000
"""Most nodes of a document, those of its subgraphs counted as often as they are used."""

MAXIMUM_SLOTS = 2_000
"""Most inputs, or outputs, of one node or subgraph."""

_MAXIMUM_ID_LENGTH = 100
_WILDCARD = "*"

SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS = "-10", "-20"
"""The ids under which links of a subgraph name its own inputs and outputs."""

MUTED, BYPASSED = 2, 4
"""The modes in which a node does not run; any other value runs."""


@dataclass(slots=True)
class Slot:
    """An input of a node: ``link`` is what is connected, ``widget`` the widget that shows the same value."""

    name: str
    type: str
    link: str | None = None
    widget: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A connection from an output to an input of the same graph."""

    origin_id: str
    origin_slot: int
    target_id: str
    target_slot: int


@dataclass(slots=True)
class SavedNode:
    """A node as it was saved; ``values`` is ``widgets_values``, and ``order`` its place in the order of execution."""

    id: str
    type: str
    title: str | None
    mode: int
    order: float
    inputs: list[Slot]
    output_types: list[str]
    values: list[Any] | dict[str, Any]
    properties: dict[str, Any]

    @property
    def label(self) -> str:
        """The class, and the title if a person gave one: what an error names."""
        return self.type if self.title in {None, "", self.type} else f"{self.type} ({self.title})"


@dataclass(slots=True)
class BoundarySlot:
    """An input or output of a subgraph, and the links inside that end there."""

    name: str
    type: str
    links: list[str]


@dataclass(slots=True)
class SavedGraph:
    """The nodes and links of the document's root or of one subgraph; ``inputs`` and ``outputs`` only of the latter."""

    id: str
    nodes: dict[str, SavedNode]
    links: dict[str, Link]
    inputs: list[BoundarySlot] = field(default_factory=list)
    outputs: list[BoundarySlot] = field(default_factory=list)


@dataclass(slots=True)
class Document:
    """A whole export; ``last_node_id`` is the counter from which the front end takes new ids."""

    root: SavedGraph
    subgraphs: dict[str, SavedGraph]
    last_node_id: int


def refusal(node: SavedNode, problem: str, node_id: str | None = None) -> InvalidWorkflow:
    """The error that names ``node``; ``problem`` ends the sentence that its class and title begin, with the remedy."""
    return InvalidWorkflow(f"{node.label} {problem}", node_id or node.id)


def read_document(document: Mapping[str, Any]) -> Document:
    """Read an export, ignoring what concerns only the picture (positions, colours, groups).

    Raises:
        InvalidWorkflow: it is malformed, or has more than `MAXIMUM_NODES` nodes.
    """
    root = _read_graph(document, "")
    subgraphs = {graph.id: graph for graph in (_read_subgraph(raw) for raw in _definitions(document))}
    if len(root.nodes) + sum(len(graph.nodes) for graph in subgraphs.values()) > MAXIMUM_NODES:
        raise InvalidWorkflow(f"The workflow has more than {MAXIMUM_NODES} nodes")
    state = as_object(document.get("state"))
    counters = [document.get("last_node_id"), state.get("lastNodeId")]
    return Document(root, subgraphs, max([0, *(value for value in counters if _is_integer(value))]))


def _definitions(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every subgraph; one may bring definitions of its own, which count for the whole document."""
    waiting = [document]
    while waiting:
        for raw in _objects(as_object(waiting.pop().get("definitions")).get("subgraphs"), "subgraphs"):
            yield raw
            waiting.append(raw)


def _read_subgraph(raw: Mapping[str, Any]) -> SavedGraph:
    graph = _read_graph(raw, _identifier(raw.get("id"), "A subgraph's id"))
    graph.inputs = [_read_boundary(slot) for slot in _slots(raw, "inputs", graph.id)]
    graph.outputs = [_read_boundary(slot) for slot in _slots(raw, "outputs", graph.id)]
    return graph


def _read_graph(raw: Mapping[str, Any], graph_id: str) -> SavedGraph:
    graph = SavedGraph(graph_id, {}, {})
    for entry in _objects(raw.get("nodes"), "nodes"):
        node = _read_node(entry)
        if node.id in graph.nodes:
            raise InvalidWorkflow(f"two nodes of one graph have this id; {EXPORT_HINT}", node.id)
        graph.nodes[node.id] = node
    links = raw.get("links")
    for entry in links if isinstance(links, list) else ():
        link_id, link = _read_link(entry)
        graph.links[link_id] = link
    return graph


def _read_node(raw: Mapping[str, Any]) -> SavedNode:
    node_id = _identifier(raw.get("id"), "A node's id")
    if not isinstance(raw.get("type"), str) or not raw["type"]:
        raise InvalidWorkflow(f"the node has no type; {EXPORT_HINT}", node_id)
    values = raw.get("widgets_values")
    if not isinstance(values, list | dict | None):
        raise InvalidWorkflow(f"widgets_values is neither a list nor an object; {EXPORT_HINT}", node_id)
    title, mode, order = raw.get("title"), raw.get("mode"), raw.get("order")
    return SavedNode(
        id=node_id,
        type=raw["type"],
        title=title if isinstance(title, str) else None,
        mode=mode if _is_integer(mode) else 0,
        order=order if _is_integer(order) else 0,
        inputs=[_read_slot(slot) for slot in _slots(raw, "inputs", node_id)],
        output_types=[slot_type(slot.get("type")) for slot in _slots(raw, "outputs", node_id)],
        values=values if values is not None else [],
        properties=as_object(raw.get("properties")),
    )


def _read_slot(raw: Mapping[str, Any]) -> Slot:
    link, widget = raw.get("link"), as_object(raw.get("widget")).get("name")
    return Slot(
        name=_text(raw.get("name")),
        type=slot_type(raw.get("type")),
        link=None if link is None else _identifier(link, "A link's id"),
        widget=widget if isinstance(widget, str) else None,
    )


def _read_boundary(raw: Mapping[str, Any]) -> BoundarySlot:
    links = raw.get("linkIds")
    ids = [_identifier(link, "A link's id") for link in links] if isinstance(links, list) else []
    return BoundarySlot(_text(raw.get("name")), slot_type(raw.get("type")), ids)


def _read_link(raw: object) -> tuple[str, Link]:
    if isinstance(raw, dict):
        raw = [raw.get(key) for key in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
    if not isinstance(raw, list) or len(raw) < 5:
        raise InvalidWorkflow(f"A link is a list of six values or an object with an id; {EXPORT_HINT}")
    link_id, origin_id, origin_slot, target_id, target_slot = raw[:5]
    return _identifier(link_id, "A link's id"), Link(
        _identifier(origin_id, "A link's origin"),
        _position(origin_slot),
        _identifier(target_id, "A link's target"),
        _position(target_slot),
    )


def slot_type(raw: object) -> str:
    """The type of a slot as text; a list of types becomes ``A,B``, and litegraph's 0 and no type at all ``*``."""
    if isinstance(raw, str):
        return raw
    if isinstance(raw, list):
        return ",".join(item for item in raw if isinstance(item, str))
    return str(raw) if _is_integer(raw) and raw else _WILDCARD


def _slots(raw: Mapping[str, Any], key: str, node_id: str) -> list[dict[str, Any]]:
    slots = _objects(raw.get(key), key, node_id)
    if len(slots) > MAXIMUM_SLOTS:
        raise InvalidWorkflow(f"there are more than {MAXIMUM_SLOTS} {key}", node_id)
    return slots


def _objects(raw: object, what: str, node_id: str | None = None) -> list[dict[str, Any]]:
    if raw is None:
        return []
    if not isinstance(raw, list) or not all(isinstance(item, dict) for item in raw):
        raise InvalidWorkflow(f"{what} is not a list of objects; {EXPORT_HINT}", node_id)
    return raw


def _identifier(raw: object, what: str) -> str:
    if (_is_integer(raw) or isinstance(raw, str)) and 0 < len(text := str(raw)) <= _MAXIMUM_ID_LENGTH:
        return text
    raise InvalidWorkflow(f"{what} is neither a number nor a short text; {EXPORT_HINT}")


def _position(raw: object) -> int:
    if isinstance(raw, str) and raw.isdecimal() and len(raw) < 10:
        return int(raw)
    if _is_integer(raw):
        return raw
    raise InvalidWorkflow(f"A link names a slot that is not a number; {EXPORT_HINT}")


def _text(raw: object) -> str:
    return raw if isinstance(raw, str) else ""


def _is_integer(raw: object) -> TypeGuard[int]:
    """Whether it is a number that an id, a mode or a place can be; a truth value is none."""
    return isinstance(raw, int) and not isinstance(raw, bool) and abs(raw) < 2**63
