"""What a ComfyUI can run, from its ``/object_info``: node classes, their inputs, and what may be chosen. Pure.

The shape is that of ``server.py: node_info``, for classes of the old and of the new kind (``comfy_api``).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfypod.schema.description import UploadKind
from comfypod.schema.wire import as_list, as_object

_UPLOAD_FLAGS: Mapping[str, UploadKind] = {
    "image_upload": "image",
    "animated_image_upload": "image",
    "video_upload": "video",
    "audio_upload": "audio",
    "file_upload": "file",
    "upload": "file",
}
"""Options by which an input has an upload button in ComfyUI's page, and what goes there."""


@dataclass(frozen=True, slots=True)
class NodeInput:
    """An input of a class: ``choices`` are what may be chosen, or None where it is no choice.

    ``is_upload``: it names a file of the input folder, and accepts ones that its list does not show.
    """

    name: str
    choices: tuple[Any, ...] | None
    is_upload: bool


class Catalogue:
    """The node classes of one ComfyUI. ``object_info`` is the answer of ``GET /object_info``."""

    def __init__(self, object_info: Mapping[str, Any], replaced: Sequence[str] = ()) -> None:
        self.object_info = object_info
        self._replaced = frozenset(replaced)

    def __contains__(self, class_type: object) -> bool:
        """Whether a node of this class can run; also one that ComfyUI replaces by another when it is submitted."""
        return class_type in self.object_info or class_type in self._replaced

    def is_output_node(self, class_type: str) -> bool:
        """Whether ComfyUI runs a prompt for the sake of such a node."""
        return bool(as_object(self.object_info.get(class_type)).get("output_node"))

    def is_core(self, class_type: str) -> bool:
        """Whether the class comes with ComfyUI, and not with a pack of custom nodes."""
        module = str(as_object(self.object_info.get(class_type)).get("python_module", ""))
        return module.split(".", maxsplit=1)[0] in {"nodes", "comfy_extras", "comfy_api_nodes"}

    def inputs(self, class_type: str) -> Mapping[str, NodeInput]:
        """The inputs of a class by name; hidden ones are left out."""
        groups = as_object(as_object(self.object_info.get(class_type)).get("input"))
        return {
            name: _node_input(name, config)
            for group in ("required", "optional")
            for name, config in as_object(groups.get(group)).items()
        }

    def nearest_classes(self, class_type: str, count: int = 3) -> list[str]:
        """Classes whose names resemble this one."""
        return nearest(class_type, list(self.object_info), count)

    def places_of(self, value: str) -> list[str]:
        """Where else a file of this name can be chosen: ``CLASS.INPUT``."""
        return [
            f"{class_type}.{name}"
            for class_type in self.object_info
            for name, item in self.inputs(class_type).items()
            if item.choices and any(_file_name(choice) == _file_name(value) for choice in item.choices)
        ]


def nearest(value: str, choices: Sequence[Any], count: int = 3) -> list[str]:
    """The choices that resemble ``value`` most: differences in case and in folders count for little."""
    plain = {str(choice): _stem(choice) for choice in choices}
    close = difflib.get_close_matches(_stem(value), sorted(set(plain.values())), n=count, cutoff=0.6)
    return [choice for name in close for choice, lowered in plain.items() if lowered == name][:count]


def _file_name(value: Any) -> str:  # noqa: ANN401 (a choice may be anything)
    return str(value).replace("\\", "/").rpartition("/")[2]


def _stem(value: Any) -> str:  # noqa: ANN401
    """The file name in small letters, without a suffix that most of its kind have."""
    stem, point, suffix = _file_name(value).lower().rpartition(".")
    return stem if point and suffix.isalpha() else stem + point + suffix


def _node_input(name: str, config: Any) -> NodeInput:  # noqa: ANN401 (foreign JSON)
    """From ``[[choices], options]``, ``["COMBO", {"options": …}]`` or ``["TYPE", options]``."""
    kind, options, *_ = [*as_list(config), None, None]
    options = as_object(options)
    choices = kind if isinstance(kind, list) else options.get("options") if kind == "COMBO" else None
    is_upload = upload_kind(options) is not None
    return NodeInput(name, tuple(choices) if isinstance(choices, list) else None, is_upload)


def upload_kind(options: Mapping[str, Any]) -> UploadKind | None:
    """What kind of file an input of the input folder names, by its options; None where it names none."""
    return next((kind for flag, kind in _UPLOAD_FLAGS.items() if options.get(flag)), None)


def linked_node(value: Any) -> str | None:  # noqa: ANN401 (foreign JSON)
    """The id of the node that an input is linked to (``[node id, slot]``), or None."""
    is_link = isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
    return value[0] if is_link else None


def reachable(nodes: Mapping[str, Mapping[str, Any]], catalogue: Catalogue) -> Iterator[str]:
    """Ids of the nodes that ComfyUI would run and therefore checks: output nodes and what they depend on."""
    todo = [node_id for node_id, node in nodes.items() if catalogue.is_output_node(str(node["class_type"]))]
    seen: set[str] = set()
    while todo:
        node_id = todo.pop()
        if node_id in seen or node_id not in nodes:
            continue
        seen.add(node_id)
        yield node_id
        todo += [linked for value in nodes[node_id]["inputs"].values() if (linked := linked_node(value))]
