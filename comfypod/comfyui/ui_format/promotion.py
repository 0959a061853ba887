"""Widgets that a subgraph's node shows, as front ends before 1.48 saved them, become inputs of the subgraph. Pure.

``properties.proxyWidgets`` of such a node lists ``[id of a node inside, name of its widget]``; ``widgets_values`` may
hold their values, in the same order. Source: ComfyUI_frontend,
src/core/graph/subgraph/migration/proxyWidgetMigration.ts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from comfypod.comfyui.ui_format.document import MAXIMUM_SLOTS, SUBGRAPH_INPUTS, BoundarySlot, Link, Slot
from comfypod.comfyui.ui_format.graph import MAXIMUM_DEPTH, OpenDocument, UiGraph
from comfypod.comfyui.ui_format.nodes import UiNode
from comfypod.comfyui.ui_format.virtual import PRIMITIVE
from comfypod.errors import InvalidWorkflow
from comfypod.schema.wire import as_list

_PREFIXES = re.compile(r"(?:\s*[0-9]+\s*:)*\s*([0-9]+)\s*:\s*(.+)")
_MAXIMUM_PROMOTIONS = 2_000
_OWN_INPUT = "-1"
"""In the place of a node's id: the entry names an input of the subgraph itself."""

_NOTHING = object()


@dataclass(frozen=True, slots=True)
class _Promotion:
    """One entry of the list: a widget inside, and the value that the subgraph's node shows for it, if any.

    ``through`` is the node further inside, where the widget's own node is a subgraph that has several of the name.
    """

    node_id: str
    widget: str
    through: str | None
    value: Any


def promote_listed_widgets(document: OpenDocument, host: UiNode) -> None:
    """Give ``host``, and the subgraph it stands for, an input for each listed widget that has none yet.

    Raises:
        InvalidWorkflow: the lists of all nodes together have more than 2,000 entries, or there are too many inputs.
    """
    if host.subgraph is None:
        return
    graph = document.subgraphs[host.subgraph]
    listed = list(_listed(host))
    document.promotions += len(listed)
    if document.promotions > _MAXIMUM_PROMOTIONS:
        raise InvalidWorkflow(f"The nodes of subgraphs list more than {_MAXIMUM_PROMOTIONS} widgets together")
    promotions = [_normalised(document, graph, entry) for entry in listed]
    primitives: dict[str, list[_Promotion]] = {}
    for promotion in promotions:
        index = _input_for(graph, promotion)
        node = graph.nodes.get(promotion.node_id)
        if promotion.node_id == _OWN_INPUT:
            _assign_by_name(document, host, promotion)
        elif index is not None:
            _assign(document, host, index, promotion.value)
        elif node is not None and node.saved.type == PRIMITIVE:
            primitives.setdefault(node.id, []).append(promotion)
        elif node is not None and not promotion.widget.startswith("$$"):  # previews have no value
            _promote(document, host, node, promotion)
    for node_id, entries in primitives.items():
        _promote_primitive(document, host, graph.nodes[node_id], entries)


def _listed(host: UiNode) -> Iterator[_Promotion]:
    """The entries of the list; a list that is not what it should be counts as empty, as in the front end."""
    raw = host.saved.properties.get("proxyWidgets")
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except (ValueError, RecursionError):
            return
    entries = as_list(raw)
    if not all(isinstance(entry, list) and len(entry) in {2, 3} and _all_text(entry) for entry in entries):
        return
    values = as_list(host.saved.values)
    for position, entry in enumerate(entries):
        value = values[position] if position < len(values) and values[position] is not None else _NOTHING
        yield _Promotion(entry[0], entry[1], entry[2] if len(entry) == 3 else None, value)


def _all_text(entry: Sequence[object]) -> bool:
    return all(isinstance(item, str) for item in entry)


def _normalised(document: OpenDocument, graph: UiGraph, promotion: _Promotion) -> _Promotion:
    """Take off what early versions put before the names of widgets of nested subgraphs: ``12: 3: seed``."""
    if _resolves(document, graph, promotion):
        return promotion
    name, through = promotion.widget, promotion.through
    if match := _PREFIXES.fullmatch(name):
        through, name = match.groups()
    return _Promotion(promotion.node_id, name, through, promotion.value)


def _resolves(document: OpenDocument, graph: UiGraph, promotion: _Promotion) -> bool:
    """Whether the entry leads to a widget, if need be through further subgraphs."""
    node_id, widget = promotion.node_id, promotion.widget
    for _ in range(MAXIMUM_DEPTH):
        node = graph.nodes.get(node_id)
        if node is None or node.subgraph is None:
            return node is not None and node.widget(widget) is not None
        graph = document.subgraphs[node.subgraph]
        index = next((index for index, slot in enumerate(graph.inputs) if slot.name == widget), None)
        source = None if index is None else _source(graph, index)
        if source is None:
            return False
        node_id, widget = source
    return False


def _source(graph: UiGraph, index: int) -> tuple[str, str] | None:
    """The node inside, and the name of its widget or input, that a subgraph's input leads to first."""
    if index not in graph.sources:
        graph.sources[index] = _find_source(graph, index)
    return graph.sources[index]


def _find_source(graph: UiGraph, index: int) -> tuple[str, str] | None:
    for link_id in graph.inputs[index].links:
        target = graph.target(link_id)
        if target is None:
            continue
        node, number = target
        slot = node.slots[number]
        if node.subgraph is not None:
            return node.id, slot.name
        if slot.widget is not None and node.widget(slot.widget) is not None:
            return node.id, slot.widget
    return None


def _input_for(graph: UiGraph, promotion: _Promotion) -> int | None:
    """The subgraph's input that already leads to the widget."""
    if graph.input_by_source is None:
        graph.input_by_source = {}
        for index in range(len(graph.inputs)):
            source = _source(graph, index)
            if source is not None:
                graph.input_by_source.setdefault(source, index)
    return graph.input_by_source.get((promotion.node_id, promotion.widget))


def _assign(document: OpenDocument, host: UiNode, index: int, value: object) -> None:
    name = host.slots[index].name
    unique = sum(slot.name == name for slot in host.slots) == 1
    if value is not _NOTHING and unique and document.promoted_source(host.subgraph or "", index) is not None:
        host.promoted[index] = value


def _assign_by_name(document: OpenDocument, host: UiNode, promotion: _Promotion) -> None:
    names = [slot.name for slot in host.slots]
    if promotion.widget not in names or promotion.value is _NOTHING:
        return
    index = names.index(promotion.widget)
    if document.promoted_source(host.subgraph or "", index) is not None:
        host.promoted[index] = promotion.value


def _promote(document: OpenDocument, host: UiNode, node: UiNode, promotion: _Promotion) -> None:
    index = _slot_to_promote(document, node, promotion)
    if index is None:
        return
    number = _add_input(document, host, promotion.widget, node.slots[index].type)
    _connect(document, host, number, node, index)
    _assign(document, host, number, promotion.value)


def _slot_to_promote(document: OpenDocument, node: UiNode, promotion: _Promotion) -> int | None:
    if node.subgraph is None:
        if node.widget(promotion.widget) is None:
            return None
        return next((index for index, slot in enumerate(node.slots) if slot.widget == promotion.widget), None)
    inner = document.subgraphs[node.subgraph]
    for index, slot in enumerate(node.slots):
        source = _source(inner, index)
        if promotion.through is not None:
            found = source == (promotion.through, promotion.widget)
        else:
            found = slot.name == promotion.widget or (source is not None and source[1] == promotion.widget)
        if found:
            return index if document.promoted_source(inner.id, index) is not None else None
    return None


def _promote_primitive(
    document: OpenDocument, host: UiNode, primitive: UiNode, promotions: Sequence[_Promotion]
) -> None:
    """The list names a PrimitiveNode: what it feeds becomes fed by the new input, and it feeds nothing any more."""
    graph = document.subgraphs[host.subgraph or ""]
    targets = [graph.target(key) for key, link in graph.links.items() if link.origin_id == primitive.id]
    found = [target for target in targets if target is not None]
    if not found:
        return
    title = primitive.saved.title
    name = title if title and title != PRIMITIVE else promotions[0].widget
    number = _add_input(document, host, name, primitive.output_types[0] if primitive.output_types else "*")
    for node, index in found:
        _connect(document, host, number, node, index)
    # Without a value in the list the widgets' own count, and not the primitive's: it has no widget yet at this point.
    given = (promotion.value for promotion in promotions if promotion.value is not _NOTHING)
    _assign(document, host, number, next(given, _NOTHING))


def _add_input(document: OpenDocument, host: UiNode, name: str, kind: str) -> int:
    """Add an input to the subgraph and to every node that stands for it; its number."""
    graph = document.subgraphs[host.subgraph or ""]
    taken, unique, count = {slot.name for slot in graph.inputs}, name, 0
    while unique in taken:
        count += 1
        unique = f"{name}_{count}"
    if len(graph.inputs) >= MAXIMUM_SLOTS:
        raise InvalidWorkflow(f"A subgraph has more than {MAXIMUM_SLOTS} inputs")
    document.count_inputs(len(document.hosts[graph.id]))
    graph.inputs.append(BoundarySlot(unique, kind, []))
    for other in document.hosts[graph.id]:
        other.slots.append(Slot(unique, kind))
    return len(graph.inputs) - 1


def _connect(document: OpenDocument, host: UiNode, number: int, node: UiNode, index: int) -> None:
    """Connect the subgraph's input to a node inside, in place of whatever was connected there."""
    graph = document.subgraphs[host.subgraph or ""]
    old = graph.links.pop(node.slots[index].link or "", None)
    if old is not None and old.origin_id == SUBGRAPH_INPUTS:
        graph.sources.pop(old.origin_slot, None)
    link_id = f"promoted {number} {len(graph.inputs[number].links)}"
    graph.links[link_id] = Link(SUBGRAPH_INPUTS, number, node.id, index)
    graph.inputs[number].links.append(link_id)
    node.slots[index].link = link_id
    graph.sources.pop(number, None)
    source = _source(graph, number)
    if source is not None and graph.input_by_source is not None:
        graph.input_by_source[source] = number
    document.forget_sources()
