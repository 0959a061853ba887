"""The inputs and widgets of one node while it is opened: some make others come and go. Pure.

A dynamic combo brings the inputs of the option that is chosen (``resize_type.width``), and a group grows as it is
connected (``images.image0``, ``images.image1``). Source: ComfyUI_frontend, src/core/graph/widgets/dynamicWidgets.ts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from comfypod.comfyui.ui_format.document import Slot, slot_type
from comfypod.comfyui.ui_format.inputs import AUTOGROW, MATCH_TYPE, InputSpec, read_specs
from comfypod.comfyui.ui_format.widgets import Widget, is_widget, make_widgets
from comfypod.schema.wire import as_list, as_object

_MAXIMUM_AUTOGROW = 1_000
_MAXIMUM_NESTING = 20


@dataclass(slots=True)
class _Group:
    """Inputs that grow as they are connected; each ordinal has one for every specification."""

    name: str
    specs: Sequence[InputSpec]
    prefix: str
    names: Sequence[str] | None
    limit: int

    def input_name(self, ordinal: int, spec: InputSpec) -> str:
        """The name of the input of this ordinal."""
        if self.names is not None:
            return f"{self.name}.{self.names[ordinal]}"
        return f"{self.name}.{self.prefix if len(self.specs) == 1 else spec.name}{ordinal}"

    def ordinal(self, input_name: str) -> int | None:
        """The ordinal that an input's name tells."""
        name = input_name[len(self.name) + 1 :]
        if self.names is not None:
            return self.names.index(name) if name in self.names else None
        digits = re.search(r"[0-9]{1,9}$", name)
        return int(digits.group()) if digits else None


@dataclass(slots=True)
class NodeBuilder:
    """Makes the inputs and widgets of one node: all sockets, then all widgets, then connections, then values."""

    slots: list[Slot] = field(default_factory=list)
    widgets: list[Widget] = field(default_factory=list)
    groups: dict[str, _Group] = field(default_factory=dict)
    grown: set[tuple[str, int]] = field(default_factory=set)
    nesting: int = 0

    def add_socket(self, spec: InputSpec) -> None:
        """Add an input that is no widget; to be called for all inputs of a class before `add_widget`."""
        if is_widget(spec):
            return
        if spec.type == AUTOGROW:
            self._add_group(spec)
        elif spec.type == MATCH_TYPE:
            allowed = as_object(spec.options.get("template")).get("allowed_types")
            self.add_input(replace(spec, type=slot_type(allowed)))
        else:
            self.slots.append(Slot(spec.name, spec.type))

    def add_widget(self, spec: InputSpec) -> None:
        """Add an input that is a widget."""
        if not is_widget(spec):
            return
        if spec.widget_type == "LOAD_3D" and any(widget.name == "model_file" for widget in self.widgets):
            buttons = ("upload 3d model", "upload extra resources", "clear")
            self.widgets += [Widget(name, None, sent=False) for name in buttons]
        made = make_widgets(spec)
        made[0].spec = spec
        self.widgets += made
        self.slots.append(Slot(spec.name, spec.type, widget=spec.name))
        if made[0].options is not None:
            self._show_option(made[0])

    def add_input(self, spec: InputSpec) -> None:
        """Add an input of either kind."""
        self.add_socket(spec)
        self.add_widget(spec)

    def add_custom_combo(self, saved_count: int) -> None:
        """The widgets that the front end gives to CustomCombo: the choice's index, and a text for each option."""
        self.widgets.append(Widget("index", None))
        count = max(1, saved_count - len(self.widgets))
        self.widgets += [Widget(f"option{number}", "") for number in range(1, count + 1)]

    def connect(self, saved: Sequence[Slot]) -> None:
        """Take over the connections by name; groups grow until each has a free input after its last connected one."""
        by_name = {slot.name: slot for slot in saved}
        for slot in self.slots:
            if slot.name in by_name:
                slot.link = by_name[slot.name].link
        defined = {slot.name for slot in self.slots}
        self.slots += [replace(slot) for slot in by_name.values() if slot.name not in defined]
        for slot in list(self.slots):
            self._grow_after(slot)

    def assign_in_order(self, values: Sequence[Any]) -> Sequence[Any]:
        """Give each saved widget its value, and return the values that are left over.

        A widget that chooses among inputs changes which widgets follow it.
        """
        position, index = 0, 0
        while index < len(self.widgets) and position < len(values):
            widget = self.widgets[index]
            index += 1
            if widget.saved:
                self._set(widget, values[position])
                position += 1
        return values[position:]

    def assign_by_name(self, values: Mapping[str, Any]) -> None:
        """The form that VideoHelperSuite saves: values by name, also of widgets that only its own code adds."""
        index = 0
        while index < len(self.widgets):
            widget = self.widgets[index]
            index += 1
            if widget.name in values:
                self._set(widget, values[widget.name])
        known = {widget.name for widget in self.widgets} | {slot.name for slot in self.slots}
        self.widgets += [
            Widget(name, value)
            for name, value in values.items()
            if name not in known and isinstance(value, str | int | float)  # a preview's state is an object
        ]

    def choose_first_for_null(self) -> None:
        """A combo whose value was saved as null takes its first choice."""
        index = 0
        while index < len(self.widgets):
            widget = self.widgets[index]
            index += 1
            if widget.choices and widget.value is None:
                self._set(widget, widget.choices[0])

    def drop_slots_without_widget(self) -> None:
        """An input that was once converted from a widget goes with the widget, and its connection with it."""
        names = {widget.name for widget in self.widgets}
        self.slots = [slot for slot in self.slots if slot.widget is None or slot.widget in names]

    def _set(self, widget: Widget, value: Any) -> None:  # noqa: ANN401 (any JSON)
        widget.value = value
        if widget.options is not None:
            self._show_option(widget)

    def _show_option(self, combo: Widget) -> None:
        """Put the inputs of the chosen option after ``combo``, in place of those of the option before."""
        inside = f"{combo.name}."
        links = {slot.name: slot.link for slot in self.slots if slot.name.startswith(inside) and slot.link is not None}
        self.slots = [slot for slot in self.slots if not slot.name.startswith(inside)]
        self.widgets = [widget for widget in self.widgets if not widget.name.startswith(inside)]
        self.groups = {name: group for name, group in self.groups.items() if not name.startswith(inside)}
        self.grown = {key for key in self.grown if not key[0].startswith(inside)}
        options = combo.options or {}
        chosen = options.get(combo.value) if isinstance(combo.value, str) else None
        if chosen is None or self.nesting >= _MAXIMUM_NESTING:
            return
        rest_widgets, rest_slots = self._split_after(combo)
        self.nesting += 1
        for spec in read_specs(chosen):
            self.add_input(replace(spec, name=inside + spec.name))
        self.nesting -= 1
        self.widgets += rest_widgets
        self.slots += rest_slots
        for name, link in links.items():
            slot = next((slot for slot in self.slots if slot.name == name), None)
            if slot is not None:
                slot.link = link
                self._grow_after(slot)

    def _split_after(self, combo: Widget) -> tuple[list[Widget], list[Slot]]:
        """Cut off, and return, the widgets and slots that stand after those of ``combo``."""
        at = next(index for index, widget in enumerate(self.widgets) if widget is combo) + 1
        names = [slot.name for slot in self.slots]
        slot_at = names.index(combo.name) + 1 if combo.name in names else len(names)
        rest = self.widgets[at:], self.slots[slot_at:]
        del self.widgets[at:], self.slots[slot_at:]
        return rest

    def _add_group(self, spec: InputSpec) -> None:
        template = as_object(spec.options.get("template"))
        names = (
            [name for name in as_list(template.get("names")) if isinstance(name, str)] if "names" in template else None
        )
        minimum, maximum, prefix = template.get("min"), template.get("max"), template.get("prefix")
        limit = len(names) if names is not None else maximum if isinstance(maximum, int) else 100
        group = _Group(
            name=spec.name,
            specs=read_specs(template.get("input")),
            prefix=prefix if isinstance(prefix, str) else "",
            names=names,
            limit=min(limit, _MAXIMUM_AUTOGROW),
        )
        self.groups[spec.name] = group
        wanted = max(1, (minimum if isinstance(minimum, int) else 1) + 1)
        for ordinal in range(min(wanted, group.limit)):
            self._grow(group, ordinal)

    def _grow_after(self, slot: Slot) -> None:
        """A group has a free input after each connected one."""
        group = self.groups.get(slot.name.rpartition(".")[0])
        ordinal = group.ordinal(slot.name) if group and slot.link is not None else None
        if group and ordinal is not None:
            self._grow(group, ordinal + 1)

    def _grow(self, group: _Group, ordinal: int) -> None:
        """Make sure that the inputs of this ordinal exist, where the class has room for them."""
        if ordinal >= group.limit or (group.name, ordinal) in self.grown:
            return
        self.grown.add((group.name, ordinal))
        for spec in group.specs:
            name = group.input_name(ordinal, spec)
            link = next((slot.link for slot in self.slots if slot.name == name), None)
            self.slots = [slot for slot in self.slots if slot.name != name]
            self.add_input(replace(spec, name=name))
            for slot in self.slots:
                slot.link = link if slot.name == name else slot.link
