"""What an input is really connected to: through reroutes, bypassed nodes and the borders of subgraphs. Pure.

A walk goes back from an input, one step at a time, until it meets an output of a node that runs, a value that a
subgraph's node shows, or nothing. Where it goes from a place does not depend on where it came from, so that the end of
every place on the way is kept. Source: ComfyUI_frontend, src/lib/litegraph/src/subgraph/ExecutableNodeDTO.ts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from comfypod.comfyui.ui_format.document import (
    BYPASSED,
    MAXIMUM_NODES,
    MUTED,
    SUBGRAPH_INPUTS,
    Slot,
    refusal,
)
from comfypod.comfyui.ui_format.graph import OpenDocument, UiGraph, check_inputs
from comfypod.comfyui.ui_format.nodes import UiNode
from comfypod.comfyui.ui_format.virtual import GET_NODE, PASSES_THROUGH, SET_NODE
from comfypod.errors import InvalidWorkflow
from comfypod.schema.wire import as_list

_MAXIMUM_PREFIX_LENGTH = 1_000


@dataclass(eq=False, slots=True)
class Scope:
    """One use of a graph: the root, or a subgraph in the place of ``host``, a node of ``parent``.

    ``prefix`` stands before the ids of its nodes in the API format, as in ``12:3``.
    """

    graph: UiGraph
    prefix: str = ""
    host: UiNode | None = None
    parent: Scope | None = None
    children: dict[str, Scope] = field(default_factory=dict)
    variables: dict[str, UiNode] | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """An output of a node that runs, by its id in the API format."""

    node_id: str
    slot: int


@dataclass(frozen=True, slots=True)
class Value:
    """A value that a subgraph's node shows."""

    value: Any


@dataclass(frozen=True, slots=True)
class _Place:
    """A place on the way: an input or an output of a node; ``type`` is that of the input for which the walk is made."""

    scope: Scope
    node_id: str
    is_output: bool
    slot: int
    type: str | None


_End = Output | Value | None


def open_scopes(document: OpenDocument, root: UiGraph) -> Scope:
    """The root with a scope for every use of a subgraph, as deep as they go.

    Raises:
        InvalidWorkflow: there would be more than `MAXIMUM_NODES` nodes, or `MAXIMUM_INPUTS` inputs.
    """
    top = Scope(root)
    waiting, nodes, inputs = [top], 0, 0
    while waiting:
        scope = waiting.pop()
        nodes += len(scope.graph.nodes)
        inputs += sum(len(node.slots) for node in scope.graph.nodes.values())
        if nodes > MAXIMUM_NODES:
            raise InvalidWorkflow(f"With its subgraphs in place the workflow has more than {MAXIMUM_NODES} nodes")
        check_inputs(inputs)
        if len(scope.prefix) > _MAXIMUM_PREFIX_LENGTH:
            raise InvalidWorkflow("The ids of nested subgraphs are too long")
        for node in scope.graph.nodes.values():
            # The front end leaves out subgraphs that are muted or bypassed at the root, but not further inside.
            if node.subgraph is not None and (node.runs or scope.parent is not None):
                child = Scope(document.subgraphs[node.subgraph], f"{scope.prefix}{node.id}:", node, scope)
                scope.children[node.id] = child
                waiting.append(child)
    return top


def nodes_in_order(scope: Scope) -> Iterator[tuple[Scope, UiNode]]:
    """Every node of the scope and of those inside it, in the order of execution that was saved."""
    waiting = [iter(sorted(scope.graph.nodes.values(), key=_order))]
    scopes = [scope]
    while waiting:
        node = next(waiting[-1], None)
        if node is None:
            waiting.pop()
            scopes.pop()
            continue
        yield scopes[-1], node
        child = scopes[-1].children.get(node.id)
        if child is not None:
            scopes.append(child)
            waiting.append(iter(sorted(child.graph.nodes.values(), key=_order)))


def _order(node: UiNode) -> float:
    return node.saved.order


class LinkResolver:
    """Finds, and remembers, what inputs are connected to."""

    def __init__(self, document: OpenDocument) -> None:
        self._document = document
        self._ends: dict[_Place, _End] = {}

    def resolve(self, scope: Scope, node: UiNode, slot: int) -> _End:
        """What the input number ``slot`` is connected to.

        Raises:
            InvalidWorkflow: the way back leads in a circle, or over a link that is not there.
        """
        place: _Place | _End = _Place(scope, node.id, False, slot, None)
        way: dict[_Place, None] = {}
        while isinstance(place, _Place):
            if place in self._ends:
                place = self._ends[place]
                break
            if place in way:
                raise refusal(
                    node.saved,
                    "is connected to itself through nodes that do not run; connect it to another",
                    _id(scope, node),
                )
            way[place] = None
            place = self._step(place)
        self._ends.update(dict.fromkeys(way, place))
        return place

    def _step(self, place: _Place) -> _Place | _End:
        node = place.scope.graph.nodes[place.node_id]
        return self._from_output(place, node) if place.is_output else self._from_input(place, node)

    def _from_input(self, place: _Place, node: UiNode) -> _Place | _End:
        if place.slot >= len(node.slots):
            return None
        slot, scope = node.slots[place.slot], place.scope
        if slot.link is None:
            return None
        link = scope.graph.links.get(slot.link)
        if link is not None and link.origin_id == SUBGRAPH_INPUTS and scope.host is not None:
            return self._out_of_subgraph(scope, scope.host, link.origin_slot)
        if link is None or link.origin_id not in scope.graph.nodes:
            problem = f"is connected at {slot.name!r} to something that the workflow does not have; connect it again"
            raise refusal(node.saved, problem, _id(scope, node))
        return _Place(scope, link.origin_id, True, link.origin_slot, place.type or slot.type)

    def _out_of_subgraph(self, scope: Scope, host: UiNode, index: int) -> _Place | _End:
        if scope.parent is None or not 0 <= index < len(host.slots):
            return None
        if host.slots[index].link is not None:
            return _Place(scope.parent, host.id, False, index, None)
        if self._document.promoted_source(scope.graph.id, index) is None:
            return None
        return Value(self._document.promoted_value(host, index))

    def _from_output(self, place: _Place, node: UiNode) -> _Place | _End:
        scope = place.scope
        if node.saved.mode == MUTED or place.slot < 0:
            return None
        if node.saved.mode == BYPASSED:
            index = _bypass(node, place.slot, place.type or "*")
            return None if index is None else _Place(scope, node.id, False, index, None)
        if node.subgraph is not None:
            return self._into_subgraph(place, node)
        if node.saved.type == GET_NODE:
            return _to_setter(scope, node)
        if node.virtual:
            passes = node.saved.type in PASSES_THROUGH
            return _Place(scope, node.id, False, place.slot, place.type) if passes else None
        return Output(_id(scope, node), place.slot)

    def _into_subgraph(self, place: _Place, host: UiNode) -> _Place | _End:
        child = place.scope.children.get(host.id)
        if child is None or place.slot >= len(child.graph.outputs):
            return None
        graph = child.graph
        link = next((graph.links[key] for key in graph.outputs[place.slot].links if key in graph.links), None)
        if link is None:
            return None
        if link.origin_id == SUBGRAPH_INPUTS:
            return self._out_of_subgraph(child, host, link.origin_slot)
        if link.origin_id not in graph.nodes:
            return None
        return _Place(child, link.origin_id, True, link.origin_slot, place.type)


def _id(scope: Scope, node: UiNode) -> str:
    return f"{scope.prefix}{node.id}"


def _to_setter(scope: Scope, getter: UiNode) -> _Place | None:
    """The input of the SetNode (KJNodes) whose name the GetNode has, in its own graph or in one around it."""
    name = next(iter(as_list(getter.saved.values)), None)
    around: Scope | None = scope
    while around is not None and isinstance(name, str):
        if around.variables is None:
            around.variables = _variables(around.graph)
        if name in around.variables:
            return _Place(around, around.variables[name].id, False, 0, None)
        around = around.parent
    return None


def _variables(graph: UiGraph) -> dict[str, UiNode]:
    variables: dict[str, UiNode] = {}
    for node in graph.nodes.values():
        name = next(iter(as_list(node.saved.values)), None)
        if node.saved.type == SET_NODE and isinstance(name, str):
            variables.setdefault(name, node)
    return variables


def _bypass(node: UiNode, output: int, wanted: str) -> int | None:
    """The input that a bypassed node puts out: the one of the same number if its type fits, else the first that does.

    ``wanted`` is the type of the input at the end of the way.
    """
    slots = node.slots
    if wanted in {"*", ""}:
        return (output if output < len(slots) else 0) if slots else None
    offered = node.output_types[output] if output < len(node.output_types) else "*"

    def fits(slot: Slot) -> bool:
        return types_match(slot.type, offered) and types_match(slot.type, wanted)

    if output < len(slots) and fits(slots[output]):
        return output
    exact = next((index for index, slot in enumerate(slots) if slot.type == wanted), None)
    if exact is not None:
        return exact
    return next((index for index, slot in enumerate(slots) if fits(slot)), None)


def types_match(one: str, other: str) -> bool:
    """Whether litegraph would connect the two types; ``A,B`` stands for either, and ``*`` for any."""
    if one in {"", "*"} or other in {"", "*"} or one == other:
        return True
    kinds, others = set(one.lower().split(",")), set(other.lower().split(","))
    return bool(kinds & others) or "*" in kinds | others or "" in kinds | others
