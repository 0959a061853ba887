"""Values of widgets that texts name: ``%KSampler.seed%`` in a file name. Pure."""

from __future__ import annotations

from comfypod.comfyui.ui_format.links import Scope, nodes_in_order
from comfypod.comfyui.ui_format.nodes import UiNode
from comfypod.comfyui.ui_format.text import replace_names


class Names:
    """The nodes of a document by the name that texts use: the one kept for this purpose, else the title."""

    def __init__(self, root: Scope) -> None:
        self._root = root
        self._nodes: dict[str, UiNode] | None = None

    def replace_in(self, text: str) -> str:
        """``text`` with the values of the widgets it names; where several nodes have a name the first counts."""
        return replace_names(text, self._value_of)

    def _value_of(self, name: str, widget: str) -> object | None:
        if self._nodes is None:
            self._nodes = self._by_name()
        node = self._nodes.get(name)
        shown = node.widget(widget) if node else None
        return shown.value if shown else None

    def _by_name(self) -> dict[str, UiNode]:
        nodes = [node for _, node in nodes_in_order(self._root)]
        nodes.reverse()
        found = {node.title: node for node in nodes}
        for node in nodes:
            kept = node.saved.properties.get("Node name for S&R")
            if isinstance(kept, str):
                found[kept] = node
        return found
