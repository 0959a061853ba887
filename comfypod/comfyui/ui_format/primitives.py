"""PrimitiveNode: a value that the front end writes into widgets before it sends them. Pure.

Source: ComfyUI_frontend, src/extensions/core: widgetInputs.ts, widgetValuePropagation.ts.
"""

from __future__ import annotations

from typing import Any

from comfypod.comfyui.ui_format.graph import OpenDocument, UiGraph
from comfypod.comfyui.ui_format.names import Names
from comfypod.comfyui.ui_format.nodes import UiNode
from comfypod.comfyui.ui_format.virtual import PRIMITIVE
from comfypod.schema.wire import as_list


def hand_on_primitives(document: OpenDocument, graph: UiGraph, names: Names) -> None:
    """Put the value of each PrimitiveNode into the widgets it is connected to, also where it is muted.

    One without a saved value shows, and hands on, the value of the first of those widgets.
    """
    by_origin: dict[str, list[str]] = {}
    for link_id, link in graph.links.items():
        by_origin.setdefault(link.origin_id, []).append(link_id)
    for primitive in graph.nodes.values():
        if primitive.saved.type != PRIMITIVE:
            continue
        targets = [graph.target(link_id) for link_id in by_origin.get(primitive.id, ())]
        found = [target for target in targets if target is not None]
        if found:
            value = next(iter(as_list(primitive.saved.values)), _shown(document, *found[0]))
            if isinstance(value, str) and primitive.saved.properties.get("Run widget replace on values"):
                value = names.replace_in(value)
            for node, index in found:
                _show(node, index, value)


def _shown(document: OpenDocument, node: UiNode, index: int) -> Any:  # noqa: ANN401 (any JSON)
    if node.subgraph is not None:
        return document.promoted_value(node, index)
    widget = node.widget(node.slots[index].widget)
    return widget.value if widget else None


def _show(node: UiNode, index: int, value: object) -> None:
    if node.subgraph is not None:
        node.promoted[index] = value
        return
    widget = node.widget(node.slots[index].widget)
    if widget is not None:
        widget.value = value
