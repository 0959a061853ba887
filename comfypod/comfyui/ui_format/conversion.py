"""UI-format workflows ("Save" and "Export" in ComfyUI) become the API format, as in ComfyUI's front end. Pure.

ComfyUI's server runs the API format only; its front end makes it in the browser from the open document
(ComfyUI_frontend, src/utils/executionUtil.ts, graphToPrompt). This does the same from the saved document and the
server's ``GET /object_info``:

1. `document` reads it, `ids` makes its node ids unique.
2. `graph` opens each graph: `nodes` gives nodes their inputs, widgets and values by the definitions of their
   classes (`inputs`, `widgets`, `builder`); `promotion` connects what subgraphs show of their inside.
3. `primitives` hands values on. Here each node that runs is written down, with what `links` finds at its inputs
   and with its texts as `text` and `names` make them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from comfypod.comfyui.ui_format.document import read_document, refusal
from comfypod.comfyui.ui_format.graph import OpenDocument, Opener, UiGraph, subgraphs_in_order
from comfypod.comfyui.ui_format.ids import make_ids_unique
from comfypod.comfyui.ui_format.links import LinkResolver, Output, Scope, Value, nodes_in_order, open_scopes
from comfypod.comfyui.ui_format.names import Names
from comfypod.comfyui.ui_format.nodes import UiNode
from comfypod.comfyui.ui_format.primitives import hand_on_primitives
from comfypod.comfyui.ui_format.promotion import promote_listed_widgets
from comfypod.comfyui.ui_format.text import SAVING_CLASSES, Choose, choose_alternatives
from comfypod.comfyui.ui_format.virtual import GROUP_NODE, GROUP_NODE_PREFIXES, REFUSED, UNKNOWN, UNREAD
from comfypod.comfyui.ui_format.widgets import UNSET
from comfypod.errors import InvalidWorkflow

_MAXIMUM_CHARACTERS = 5_000_000


def is_ui_format(document: Any) -> bool:  # noqa: ANN401 (foreign JSON)
    """Whether the document is a UI export: it has a list of nodes, where the API format has an object."""
    return isinstance(document, Mapping) and isinstance(document.get("nodes"), list)


def convert_ui_workflow(
    document: Mapping[str, Any], object_info: Mapping[str, Any], choose: Choose = random.choice
) -> dict[str, dict[str, Any]]:
    """The API format of a UI export, in its order of execution; values are shared with ``document``, not copied.

    Nodes inside subgraphs have ids such as ``12:3``. Muted nodes and those that exist in the front end only are left
    out. ``object_info`` is the answer of ``GET /object_info`` of the server that is to run it; ``choose`` takes one of
    the alternatives of prompts such as ``a {red|blue} hat``.

    Raises:
        InvalidWorkflow: the document is malformed, or something in it cannot be converted; it names the node.
    """
    opened, root = _open(document, object_info)
    scope = open_scopes(opened, root)
    names = Names(scope)
    for graph in (*opened.subgraphs.values(), root):
        hand_on_primitives(opened, graph, names)
    return _Writer(opened, scope, names, choose).write()


def _open(document: Mapping[str, Any], object_info: Mapping[str, Any]) -> tuple[OpenDocument, UiGraph]:
    saved = read_document(document)
    make_ids_unique(saved)
    opener = Opener(object_info)
    for graph in subgraphs_in_order(saved):
        opened = opener.open_graph(graph)
        _promote(opener.document, opened)
        opener.document.subgraphs[graph.id] = opened
    root = opener.open_graph(saved.root)
    _promote(opener.document, root)
    return opener.document, root


def _promote(document: OpenDocument, graph: UiGraph) -> None:
    for node in graph.nodes.values():
        promote_listed_widgets(document, node)


class _Writer:
    """Writes the API format of one open document."""

    def __init__(self, document: OpenDocument, root: Scope, names: Names, choose: Choose) -> None:
        self._root = root
        self._names = names
        self._links = LinkResolver(document)
        self._choose = choose
        self._characters = 0
        self._origins: dict[str, set[str]] = {}

    def write(self) -> dict[str, dict[str, Any]]:
        written: dict[str, dict[str, Any]] = {}
        for scope, node in nodes_in_order(self._root):
            if node.runs and not node.virtual and self._has_effect(scope, node):
                written[f"{scope.prefix}{node.id}"] = self._write_node(scope, node)
        for entry in written.values():
            entry["inputs"] = {
                name: value
                for name, value in entry["inputs"].items()
                if not (isinstance(value, list) and value[0] not in written)
            }
        return written

    def _write_node(self, scope: Scope, node: UiNode) -> dict[str, Any]:
        """One entry; only connections are lists in it, as other lists are wrapped."""
        _check_convertible(scope, node)
        inputs: dict[str, Any] = {}
        for widget in node.widgets:
            if widget.sent and widget.value is not UNSET:
                inputs[widget.name] = _wrapped(self._sent_value(node, widget.name, widget.value, widget.dynamic_prompt))
        for index, slot in enumerate(node.slots):
            end = self._links.resolve(scope, node, index)
            if isinstance(end, Output):
                inputs[slot.name] = [end.node_id, end.slot]
            elif isinstance(end, Value) and end.value is not UNSET:
                inputs[slot.name] = _wrapped(end.value)
        return {"inputs": inputs, "class_type": node.saved.type, "_meta": {"title": node.title}}

    def _sent_value(self, node: UiNode, name: str, value: Any, dynamic: bool) -> Any:  # noqa: ANN401 (any JSON)
        if not isinstance(value, str):
            return value
        if dynamic:
            self._count(value)
            return choose_alternatives(value, self._choose)
        if name == "filename_prefix" and node.saved.type in SAVING_CLASSES:
            self._count(value)
            return self._names.replace_in(value)
        return value

    def _count(self, text: str) -> None:
        """Bound the work: a subgraph makes its texts anew in each place where it is used."""
        self._characters += len(text)
        if self._characters > _MAXIMUM_CHARACTERS:
            raise InvalidWorkflow(
                f"The prompts of the workflow have more than {_MAXIMUM_CHARACTERS} characters together"
            )

    def _has_effect(self, scope: Scope, node: UiNode) -> bool:
        """Whether leaving the node out would matter: what no server knows and nothing is connected to is decoration."""
        if node.node_class is not None or any(slot.link is not None for slot in node.slots):
            return True
        graph = scope.graph
        if graph.id not in self._origins:
            self._origins[graph.id] = {link.origin_id for link in graph.links.values()}
        return node.id in self._origins[graph.id]


def _wrapped(value: Any) -> Any:  # noqa: ANN401 (any JSON)
    """A list would be read as a connection; ComfyUI unwraps this (execution.py, get_input_data)."""
    return {"__value__": value} if isinstance(value, list) else value


def _check_convertible(scope: Scope, node: UiNode) -> None:
    kind = node.saved.type
    problem = REFUSED.get(kind)
    if kind.startswith(GROUP_NODE_PREFIXES):
        problem = GROUP_NODE
    elif problem is None and node.node_class is None:
        problem = UNKNOWN
    elif problem is None and node.unread:
        problem = UNREAD
    if problem is not None:
        raise refusal(node.saved, problem, f"{scope.prefix}{node.id}")
