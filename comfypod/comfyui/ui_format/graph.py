"""The whole document as the front end holds it once it is open: nodes in graphs, and subgraphs ready to be used. Pure.

Nodes that stand for a subgraph show values of widgets inside it ("promoted"): each is an input of the subgraph that
leads to the widget's input. Front ends before 1.48 wrote these values otherwise, as a list of widgets in the property
``proxyWidgets``; `promotion` turns that into inputs, as the newest front end does when it opens a document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfypod.comfyui.ui_format.document import (
    SUBGRAPH_INPUTS,
    SUBGRAPH_OUTPUTS,
    BoundarySlot,
    Document,
    Link,
    SavedGraph,
    SavedNode,
    Slot,
)
from comfypod.comfyui.ui_format.inputs import NodeClass, read_class
from comfypod.comfyui.ui_format.nodes import UiNode, open_node, open_saved
from comfypod.comfyui.ui_format.virtual import VIRTUAL
from comfypod.errors import InvalidWorkflow
from comfypod.schema.wire import as_list, as_object
from comfypod.schema.workflow import EXPORT_HINT

MAXIMUM_DEPTH = 100
"""Deepest nesting of subgraphs; the front end itself allows 1,000."""

MAXIMUM_INPUTS = 200_000
"""Most inputs of all nodes together, those inside subgraphs counted as often as they are used."""

_NOTHING = object()


@dataclass(slots=True)
class UiGraph:
    """The root or a subgraph, with its nodes open; ``inputs`` and ``outputs`` are a subgraph's own.

    ``sources`` and ``input_by_source`` are what `promotion` remembers: where each of the inputs leads, as the id of
    a node and the name of its widget, and the other way round.
    """

    id: str
    nodes: dict[str, UiNode]
    links: dict[str, Link]
    inputs: list[BoundarySlot]
    outputs: list[BoundarySlot]
    sources: dict[int, tuple[str, str] | None] = field(default_factory=dict)
    input_by_source: dict[tuple[str, str], int] | None = None

    def target(self, link_id: str) -> tuple[UiNode, int] | None:
        """The node, and the index of its input, where a link ends; None where it ends nowhere."""
        link = self.links.get(link_id)
        node = self.nodes.get(link.target_id) if link else None
        if node is None:
            return None
        index = next((index for index, slot in enumerate(node.slots) if slot.link == link_id), None)
        return None if index is None else (node, index)


@dataclass(slots=True)
class OpenDocument:
    """All graphs; a subgraph is open before any graph that uses it.

    ``hosts`` are the nodes that stand for each subgraph; ``promotions`` counts the widgets they list.
    """

    subgraphs: dict[str, UiGraph] = field(default_factory=dict)
    hosts: dict[str, list[UiNode]] = field(default_factory=dict)
    promotions: int = 0
    _sources: dict[tuple[str, int], tuple[UiNode, int] | None] = field(default_factory=dict)
    _inputs: int = 0

    def count_inputs(self, number: int) -> None:
        """To be called for inputs before they are made.

        Raises:
            InvalidWorkflow: there would be more than `MAXIMUM_INPUTS`.
        """
        self._inputs += number
        check_inputs(self._inputs)

    def promoted_source(self, subgraph: str, index: int) -> tuple[UiNode, int] | None:
        """The node inside, and its input, whose widget the subgraph's input number ``index`` shows; None: it is bare.

        Where several are connected the first counts.
        """
        key = (subgraph, index)
        if key not in self._sources:
            self._sources[key] = next(self._promotable(self.subgraphs[subgraph], index), None)
        return self._sources[key]

    def forget_sources(self) -> None:
        """To be called after links of a subgraph changed."""
        self._sources.clear()

    def promoted_value(self, host: UiNode, index: int) -> Any:  # noqa: ANN401 (any JSON)
        """The value that ``host`` shows at its input number ``index``: its own, else that of the widget inside."""
        while host.subgraph is not None and index not in host.promoted:
            source = self.promoted_source(host.subgraph, index)
            if source is None:
                return None
            host, index = source
        if host.subgraph is not None:
            return host.promoted[index]
        widget = host.widget(host.slots[index].widget)
        return widget.value if widget else None

    def _promotable(self, graph: UiGraph, index: int) -> Iterator[tuple[UiNode, int]]:
        for link_id in graph.inputs[index].links:
            target = graph.target(link_id)
            if target is None:
                continue
            node, slot = target
            if node.subgraph is not None:
                if self.promoted_source(node.subgraph, slot) is not None:
                    yield target
            elif node.slots[slot].widget is not None and node.widget(node.slots[slot].widget) is not None:
                yield target


def check_inputs(number: int) -> None:
    """Refuse more than `MAXIMUM_INPUTS`."""
    if number > MAXIMUM_INPUTS:
        raise InvalidWorkflow(f"The nodes of the workflow have more than {MAXIMUM_INPUTS} inputs together")


class Opener:
    """Opens the graphs of one document, one after the other, with the classes of one server."""

    def __init__(self, object_info: Mapping[str, Any]) -> None:
        self._object_info = object_info
        self._classes: dict[str, NodeClass] = {}
        self.document = OpenDocument()

    def open_graph(self, saved: SavedGraph) -> UiGraph:
        """Open a graph, all of whose subgraphs are open."""
        graph = UiGraph(saved.id, {}, dict(saved.links), saved.inputs, saved.outputs)
        _complete_boundary(graph)
        self.document.count_inputs(sum(len(slot.links) for slot in graph.inputs))
        for node in saved.nodes.values():
            graph.nodes[node.id] = self._open(node)
        return graph

    def _open(self, saved: SavedNode) -> UiNode:
        if saved.type in self.document.subgraphs:
            return self._open_host(saved, self.document.subgraphs[saved.type])
        definition = self._object_info.get(saved.type)
        if saved.type in VIRTUAL or not isinstance(definition, dict):
            return open_saved(saved, virtual=saved.type in VIRTUAL)
        if saved.type not in self._classes:
            self._classes[saved.type] = read_class(saved.type, definition)
        node_class = self._classes[saved.type]
        self.document.count_inputs(len(node_class.inputs) + len(saved.inputs))
        return open_node(saved, node_class)

    def _open_host(self, saved: SavedNode, subgraph: UiGraph) -> UiNode:
        self.document.count_inputs(len(subgraph.inputs))
        links = {slot.name: slot.link for slot in saved.inputs}
        slots = [Slot(slot.name, slot.type, links.get(slot.name)) for slot in subgraph.inputs]
        outputs = [slot.type for slot in subgraph.outputs]
        host = UiNode(saved, None, slots, [], outputs, virtual=True, subgraph=subgraph.id)
        self.document.hosts.setdefault(subgraph.id, []).append(host)
        values, rescued = iter(as_list(saved.values)), _rescued_values(saved)
        for index, slot in enumerate(slots):
            if self.document.promoted_source(subgraph.id, index) is None:
                continue
            value = next(values, _NOTHING)
            if slot.name in rescued or value is not _NOTHING:
                host.promoted[index] = rescued.get(slot.name, value)
        return host


def _complete_boundary(graph: UiGraph) -> None:
    """Inputs and outputs of a subgraph that do not list their links get them from the links."""
    incoming: dict[int, list[str]] = {}
    outgoing: dict[int, list[str]] = {}
    for key, link in graph.links.items():
        if link.origin_id == SUBGRAPH_INPUTS:
            incoming.setdefault(link.origin_slot, []).append(key)
        if link.target_id == SUBGRAPH_OUTPUTS:
            outgoing.setdefault(link.target_slot, []).append(key)
    for slots, found in ((graph.inputs, incoming), (graph.outputs, outgoing)):
        for number, slot in enumerate(slots):
            slot.links = [key for key in slot.links if key in graph.links] or found.get(number, [])


def _rescued_values(saved: SavedNode) -> dict[str, Any]:
    """Values that the front end could not place when it migrated the document, by the name of the input."""
    rescued: dict[str, Any] = {}
    for raw in as_list(saved.properties.get("proxyWidgetErrorQuarantine")):
        entry, value = as_list(as_object(raw).get("originalEntry")), as_object(raw).get("hostValue")
        if len(entry) > 1 and entry[0] == "-1" and isinstance(entry[1], str) and value is not None:
            rescued.setdefault(entry[1], value)
    return rescued


def subgraphs_in_order(document: Document) -> list[SavedGraph]:
    """The subgraphs, each after those that it uses.

    Raises:
        InvalidWorkflow: one contains itself, or they are nested deeper than `MAXIMUM_DEPTH`.
    """
    uses = {
        key: {node.type for node in graph.nodes.values()} & document.subgraphs.keys()
        for key, graph in document.subgraphs.items()
    }
    users: dict[str, list[str]] = {key: [] for key in uses}
    for key, used in uses.items():
        for other in used:
            users[other].append(key)
    missing = {key: len(used) for key, used in uses.items()}
    depth = dict.fromkeys(uses, 1)
    ready = [key for key, count in missing.items() if count == 0]
    for key in ready:
        for user in users[key]:
            depth[user] = max(depth[user], depth[key] + 1)
            missing[user] -= 1
            if missing[user] == 0:
                ready.append(user)
    if len(ready) < len(uses):
        raise InvalidWorkflow(f"A subgraph contains itself; {EXPORT_HINT}")
    if max(depth.values(), default=0) > MAXIMUM_DEPTH:
        raise InvalidWorkflow(f"Subgraphs are nested deeper than {MAXIMUM_DEPTH} levels")
    return [document.subgraphs[key] for key in ready]
