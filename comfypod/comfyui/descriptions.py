"""What can be set in the nodes of a workflow, as ComfyUI's page would show it: from the server's catalogue. Pure.

The inputs and their widgets are those of the front end (`comfypod.comfyui.ui_format`); an option that is chosen in the
workflow brings its own. Sockets, which take a link only, are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from comfypod.comfyui.catalogue import Catalogue, upload_kind
from comfypod.comfyui.checks import models_folder
from comfypod.comfyui.ui_format.builder import NodeBuilder
from comfypod.comfyui.ui_format.inputs import InputSpec, read_specs
from comfypod.comfyui.ui_format.widgets import UNSET, Widget, is_seed, make_widgets
from comfypod.schema.description import InputDescription, NodeDescription
from comfypod.schema.wire import as_object, json_safe, shortened
from comfypod.schema.workflow import Workflow

MOST_CHOICES = 2_000
"""Of one input; nobody scrolls further, and a pack may list 50,000."""
LARGEST_CHOICES_BYTES = 2_000_000
"""Of all inputs of a workflow, as JSON: an answer of 10 MB never arrives."""
LONGEST_TOOLTIP = 1_000


class NodeDescriber:
    """Describes the nodes of one workflow.

    Args:
        catalogue: what the server can run.
        models: names of the model files that the worker can fetch, by ComfyUI's folder; they can be chosen as well.
        is_private: whether a choice is the name of a file that nobody else is to know.
    """

    def __init__(
        self, catalogue: Catalogue, models: Mapping[str, Sequence[str]], is_private: Callable[[str], bool]
    ) -> None:
        self._catalogue = catalogue
        self._models = models
        self._is_private = is_private
        self._left_bytes = LARGEST_CHOICES_BYTES

    def describe(self, workflow: Workflow) -> dict[str, NodeDescription]:
        """The nodes by id; what is told of all choices together is bounded."""
        return {
            node_id: NodeDescription(
                class_type=str(node["class_type"]),
                title=workflow.title(node_id) or "",
                is_known=node["class_type"] in self._catalogue,
                inputs=self._inputs(str(node["class_type"]), node["inputs"]),
            )
            for node_id, node in workflow.nodes.items()
        }

    def _inputs(self, class_type: str, values: Mapping[str, Any]) -> dict[str, InputDescription]:
        definition = as_object(self._catalogue.object_info.get(class_type))
        builder = NodeBuilder()
        for spec in read_specs(definition.get("input")):
            builder.add_input(spec)
        builder.assign_by_name(values)
        return {
            widget.name: self._input(class_type, widget.spec, widget)
            for widget in builder.widgets
            if widget.spec is not None and widget.sent
        }

    def _input(self, class_type: str, spec: InputSpec, widget: Widget) -> InputDescription:
        offered = self._offered(class_type, spec, widget)
        choices = None if offered is None else self._as_many_as_fit(offered)
        options = spec.options
        return InputDescription(
            type=spec.widget_type,
            default=_default(spec if offered is None else replace(spec, choices=offered)),
            minimum=_number(options.get("min")),
            maximum=_number(options.get("max")),
            step=_number(options.get("step")) or (1 if spec.widget_type == "INT" else None),
            choices=choices,
            is_cut=choices is not None and offered is not None and len(choices) < len(offered),
            is_multiline=widget.multiline,
            upload=upload_kind(options),
            is_seed=is_seed(spec),
            tooltip=shortened(options.get("tooltip") or "", LONGEST_TOOLTIP),
        )

    def _offered(self, class_type: str, spec: InputSpec, widget: Widget) -> list[Any] | None:
        """All that may be chosen; None where it is no choice of one, or another server has the list."""
        if widget.choices is None or (not widget.choices and spec.options.get("remote")):
            return None
        shown = [choice for choice in widget.choices if not (isinstance(choice, str) and self._is_private(choice))]
        fetched = self._models.get(models_folder(class_type, spec.name) or "", ())
        return [*shown, *(name for name in fetched if name not in shown)]

    def _as_many_as_fit(self, offered: Sequence[Any]) -> list[Any]:
        fitting: list[Any] = []
        for choice in offered[:MOST_CHOICES]:
            size_bytes = len(json.dumps(json_safe(choice)))
            if size_bytes > self._left_bytes:
                break
            self._left_bytes -= size_bytes
            fitting.append(choice)
        return fitting


def _default(spec: InputSpec) -> Any:  # noqa: ANN401 (any JSON)
    value = make_widgets(spec)[0].value
    return None if value is UNSET else value


def _number(value: Any) -> float | None:  # noqa: ANN401 (foreign JSON)
    """A finite number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value - value == 0
    return value if is_number else None
