"""A saved node as the front end holds it once the document is open: its inputs, widgets and values. Pure.

The definition of the class decides which inputs and widgets there are and in which order; the document brings
connections (by the input's name) and values (by the widget's place). Inputs that only the document knows, such as
those that a custom node's own front-end code added, follow after the definition's.
Source: ComfyUI_frontend, src/services/litegraphService.ts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from comfypod.comfyui.ui_format.builder import NodeBuilder
from comfypod.comfyui.ui_format.document import BYPASSED, MUTED, SavedNode, Slot
from comfypod.comfyui.ui_format.inputs import NodeClass
from comfypod.comfyui.ui_format.widgets import UNSET, Widget


@dataclass(slots=True)
class UiNode:
    """A node with its inputs and widgets in the front end's order; ``node_class`` is None for what is not a class.

    ``unread`` is set where values were saved that no widget takes and that only the node's own front-end code can read.
    Of a node that stands for a subgraph, ``subgraph`` is the definition's id and ``promoted`` holds the values that
    it shows for widgets inside, by the index of its input.
    """

    saved: SavedNode
    node_class: NodeClass | None
    slots: list[Slot]
    widgets: list[Widget]
    output_types: list[str]
    virtual: bool = False
    unread: bool = False
    subgraph: str | None = None
    promoted: dict[int, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The id inside its graph."""
        return self.saved.id

    @property
    def runs(self) -> bool:
        """Whether it is neither muted nor bypassed."""
        return self.saved.mode not in {MUTED, BYPASSED}

    @property
    def title(self) -> str:
        """The title that a person gave, else the class's."""
        return self.saved.title or (self.node_class.title if self.node_class else self.saved.type)

    def widget(self, name: str | None) -> Widget | None:
        """The widget of this name."""
        return next((widget for widget in self.widgets if widget.name == name), None)


def open_saved(saved: SavedNode, *, virtual: bool) -> UiNode:
    """A node without a class on the server: it has what was saved, and no widgets."""
    return UiNode(saved, None, [replace(slot) for slot in saved.inputs], [], saved.output_types, virtual)


def open_node(saved: SavedNode, node_class: NodeClass) -> UiNode:
    """A node of a class of the server, with the connections and values that were saved."""
    builder = NodeBuilder()
    for spec in node_class.inputs:
        builder.add_socket(spec)
    for spec in node_class.inputs:
        builder.add_widget(spec)
    if saved.type == "CustomCombo":
        builder.add_custom_combo(len(saved.values))
    builder.connect(saved.inputs)
    if isinstance(saved.values, dict):
        builder.assign_by_name(saved.values)
        rest: Sequence[Any] = ()
    else:
        rest = builder.assign_in_order(_without_forced_inputs(node_class, builder.widgets, saved.values))
    builder.choose_first_for_null()
    builder.drop_slots_without_widget()
    _repair(saved, builder.widgets)
    known = len(node_class.output_types)
    outputs = [*node_class.output_types, *saved.output_types[known:]]
    unread = node_class.custom and any(isinstance(value, dict) and value for value in rest)
    return UiNode(saved, node_class, builder.slots, builder.widgets, outputs, unread=unread)


def _without_forced_inputs(node_class: NodeClass, widgets: Sequence[Widget], values: Sequence[Any]) -> Sequence[Any]:
    """Leave out values of inputs that are sockets only (``forceInput``), which front ends before 1.16 saved.

    Only the number of values tells whether they are there.
    """
    names = {widget.name for widget in widgets}
    counted: list[bool] = []
    for spec in node_class.declared_inputs:
        forced = bool(spec.options.get("forceInput"))
        if spec.name in names or forced:
            counted += [forced, False] if spec.options.get("control_after_generate") else [forced]
    if len(counted) != len(values):
        return values
    return [value for value, forced in zip(values, counted, strict=True) if not forced]


def _repair(saved: SavedNode, widgets: Sequence[Widget]) -> None:
    """What the front end mends in values that old versions saved (src/scripts/app.ts, loadGraphData)."""
    for widget in widgets:
        if widget.multiline and widget.value is None:
            widget.value = ""
        elif widget.name == "sampler_name" and saved.type in {"KSampler", "KSamplerAdvanced"}:
            widget.value = widget.value.removeprefix("sample_") if isinstance(widget.value, str) else widget.value
    if saved.type == "CustomCombo" and len(widgets) > 2:
        choice, index, *options = widgets
        choice.value = None if choice.value is UNSET else choice.value
        texts = [option.value for option in options]
        index.value = texts.index(choice.value) if choice.value in texts else -1
