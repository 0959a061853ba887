"""What a node class takes, read from ``GET /object_info`` in the order in which the front end shows it. Pure.

An input's specification is ``[type, options]``; for a choice the type is the list of choices, or ``"COMBO"`` with
them in ``options["options"]`` (ComfyUI: ``comfy_api/latest/_io.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfypod.comfyui.ui_format.document import slot_type
from comfypod.schema.wire import as_list, as_object

AUTOGROW, DYNAMIC_COMBO, MATCH_TYPE = "COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3", "COMFY_MATCHTYPE_V3"

_AUDIO_PLAYER_CLASSES = frozenset(
    {"LoadAudio", "SaveAudio", "PreviewAudio", "SaveAudioMP3", "SaveAudioOpus", "SaveAudioAdvanced"}
)
_UPLOAD_OPTIONS = ("image_upload", "video_upload", "animated_image_upload")


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a class: a socket, or a widget with or without a socket; ``choices`` are a combo's."""

    name: str
    type: str
    options: Mapping[str, Any]
    choices: Sequence[Any] = ()

    @property
    def widget_type(self) -> str:
        """The kind of widget: the type, unless the options name another."""
        other = self.options.get("widgetType")
        return other if isinstance(other, str) and other else self.type

    def default(self, otherwise: Any) -> Any:  # noqa: ANN401 (any JSON)
        """The default of the options; null counts as none."""
        value = self.options.get("default")
        return otherwise if value is None else value


@dataclass(frozen=True, slots=True)
class NodeClass:
    """A class of the server: its name, the title it gives to nodes, its inputs in order, and the types it puts out.

    ``declared_inputs`` are the same inputs in the order of the definition; ``custom``: it is not ComfyUI's own.
    """

    name: str
    title: str
    inputs: Sequence[InputSpec]
    declared_inputs: Sequence[InputSpec]
    output_types: Sequence[str]
    custom: bool


def read_spec(name: str, raw: object) -> InputSpec:
    """A specification; what is malformed becomes a socket of no known type."""
    spec = raw if isinstance(raw, list | tuple) else [raw]
    kind, options = (spec[0] if spec else None), as_object(spec[1] if len(spec) > 1 else None)
    if isinstance(kind, list | tuple):
        return InputSpec(name, "COMBO", options, kind)
    if kind == "COMBO":
        return InputSpec(name, "COMBO", options, as_list(options.get("options")))
    return InputSpec(name, kind if isinstance(kind, str) else "UNKNOWN", options)


def read_specs(raw: object) -> list[InputSpec]:
    """The required inputs, then the optional ones, of ``{"required": {…}, "optional": {…}}``."""
    parts = as_object(raw)
    return [
        read_spec(name, spec) for part in ("required", "optional") for name, spec in as_object(parts.get(part)).items()
    ]


def read_class(name: str, definition: Mapping[str, Any]) -> NodeClass:
    """A class of ``/object_info`` as the front end sees it, with the inputs that the front end itself adds."""
    inputs = as_object(definition.get("input"))
    required, optional = as_object(inputs.get("required")), as_object(inputs.get("optional"))
    specs = {key: read_spec(key, raw) for key, raw in {**required, **_added_inputs(name, required)}.items()}
    specs.update((key, read_spec(key, raw)) for key, raw in optional.items())
    order = as_object(definition.get("input_order"))
    first = [key for part in ("required", "optional") for key in as_list(order.get(part)) if isinstance(key, str)]
    title = definition.get("display_name")
    return NodeClass(
        name=name,
        title=title if isinstance(title, str) and title else name,
        inputs=_in_order(specs, first),
        declared_inputs=list(specs.values()),
        output_types=["*" if kind == MATCH_TYPE else kind for kind in map(_output_type, _outputs(definition))],
        custom=str(definition.get("python_module")).startswith("custom_nodes"),
    )


def _in_order(specs: Mapping[str, InputSpec], first: Iterable[str]) -> list[InputSpec]:
    order = dict.fromkeys([*(key for key in first if key in specs), *specs])
    return [specs[key] for key in order]


def _outputs(definition: Mapping[str, Any]) -> Sequence[Any]:
    outputs = definition.get("output")
    return outputs if isinstance(outputs, list | tuple) else ()


def _output_type(raw: object) -> str:
    return "COMBO" if isinstance(raw, list | tuple) else slot_type(raw)


def _added_inputs(name: str, required: Mapping[str, Any]) -> dict[str, Any]:
    """Widgets that the front end gives to classes of ComfyUI's own: they shift the saved values of those after them.

    Source: ComfyUI_frontend, src/extensions/core: uploadImage.ts, uploadAudio.ts, load3d.ts, load3dAdvanced.ts,
    saveMesh.ts.
    """
    added: dict[str, Any] = {}
    if name in _AUDIO_PLAYER_CLASSES:
        added["audioUI"] = ["AUDIO_UI", {}]
    if as_object(read_spec("audio", required.get("audio")).options).get("audio_upload") is True:
        added["upload"] = ["AUDIOUPLOAD", {}]
    specs = [read_spec(key, raw) for key, raw in required.items()]
    if any(spec.type == "COMBO" and any(spec.options.get(key) is True for key in _UPLOAD_OPTIONS) for spec in specs):
        added["upload"] = ["IMAGEUPLOAD", {}]
    if name in {"Preview3D", "SaveGLB"}:
        added["image"] = ["PREVIEW_3D", {}]
    if name == "Load3DAdvanced":
        added["viewport_state"] = ["LOAD_3D_ADVANCED", {}]
    return added
