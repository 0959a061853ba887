"""The widgets that the front end shows for an input, and what of them it saves and sends. Pure.

``widgets_values`` holds the values of all widgets that are saved, in order and without names, among them some that no
input of the class has: the mode of a seed, upload buttons, the fields of a box. Only those that are sent are inputs of
the API format. Source: ComfyUI_frontend, src/scripts/widgets.ts and the constructors it lists.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfypod.comfyui.ui_format.inputs import DYNAMIC_COMBO, InputSpec
from comfypod.schema.wire import as_object

_SEED_NAMES = frozenset({"seed", "noise_seed"})
_BOX = {"x": 0, "y": 0, "width": 512, "height": 512}


UNSET: Any = object()
"""The value of a choice that has neither a default nor choices: it is not sent."""


@dataclass(slots=True)
class Widget:
    """A value of a node; ``saved``: it has a place in ``widgets_values``; ``sent``: it is an input of the API format.

    ``choices`` are those of a combo, and None of everything else; ``options`` those of a dynamic combo, by choice.
    ``spec`` is the input that it stands for, if a builder made it for one.
    """

    name: str
    value: Any
    saved: bool = True
    sent: bool = True
    choices: Sequence[Any] | None = None
    options: Mapping[str, Any] | None = None
    multiline: bool = False
    dynamic_prompt: bool = False
    spec: InputSpec | None = None


def is_widget(spec: InputSpec) -> bool:
    """Whether the input is shown as a widget, and not as a bare socket."""
    return spec.widget_type in WIDGETS and not spec.options.get("forceInput")


def make_widgets(spec: InputSpec) -> list[Widget]:
    """The widget of an input with its default value, and after it those that come with it."""
    return WIDGETS[spec.widget_type](spec)


def is_seed(spec: InputSpec) -> bool:
    """Whether the front end draws a new whole number after each run, if it is not told otherwise."""
    control = spec.options.get("control_after_generate")
    return spec.widget_type == "INT" and (spec.name in _SEED_NAMES if control is None else bool(control))


def _integer(spec: InputSpec) -> list[Widget]:
    return [Widget(spec.name, spec.default(0)), *([_control()] if is_seed(spec) else [])]


def _float(spec: InputSpec) -> list[Widget]:
    controlled = bool(spec.options.get("control_after_generate"))
    return [Widget(spec.name, spec.default(0)), *([_control()] if controlled else [])]


def _string(spec: InputSpec) -> list[Widget]:
    options = spec.options
    return [
        Widget(
            spec.name,
            spec.default(""),
            multiline=bool(options.get("multiline")),
            dynamic_prompt=options.get("dynamicPrompts") is True,
        )
    ]


def _combo(spec: InputSpec) -> list[Widget]:
    controlled = bool(spec.options.get("control_after_generate"))
    if spec.options.get("multi_select"):
        return [Widget(spec.name, []), *([_control()] if controlled else [])]
    default = spec.options.get("default") or (spec.choices[0] if spec.choices else UNSET)
    remote = spec.options.get("remote")
    refreshers = ["Auto-refresh after generation"] if remote else []
    refreshers += ["refresh"] if as_object(remote).get("refresh_button") else []
    controls = ["control_after_generate", "control_filter_list"] if controlled else []
    beside = [Widget(name, None, sent=False) for name in (*refreshers, *controls)]
    return [Widget(spec.name, default, choices=spec.choices), *beside]


def _dynamic_combo(spec: InputSpec) -> list[Widget]:
    raw = spec.options.get("options")
    entries = [as_object(entry) for entry in (raw if isinstance(raw, list | tuple) else ())]
    options = {entry["key"]: entry.get("inputs") for entry in entries if isinstance(entry.get("key"), str)}
    choices = list(options)
    return [Widget(spec.name, choices[0] if choices else UNSET, choices=choices, options=options)]


def _box(spec: InputSpec) -> list[Widget]:
    box = copy.deepcopy(spec.default(_BOX))
    fields = [Widget(name, as_object(box).get(name), sent=False) for name in _BOX]
    return [Widget(spec.name, box), *fields]


def _button(spec: InputSpec) -> list[Widget]:
    return [Widget(spec.name, None, sent=False)]


def _with(default: Any, *, saved: bool = True, sent: bool = True) -> Callable[[InputSpec], list[Widget]]:  # noqa: ANN401
    # A copy: a default may be an object that belongs to the definition, or to the table below.
    return lambda spec: [Widget(spec.name, copy.deepcopy(spec.default(default)), saved, sent)]


def _with_nested(key: str, default: Any) -> Callable[[InputSpec], list[Widget]]:  # noqa: ANN401 (any JSON)
    """A widget whose settings stand one level deeper, in ``options["options"]``."""

    def make(spec: InputSpec) -> list[Widget]:
        nested = as_object(spec.options.get("options"))
        return [Widget(spec.name, copy.deepcopy(spec.default(nested.get(key) or default)))]

    return make


def _control() -> Widget:
    return Widget("control_after_generate", None, sent=False)


WIDGETS: Mapping[str, Callable[[InputSpec], list[Widget]]] = {
    "INT": _integer,
    "FLOAT": _float,
    "BOOLEAN": _with(default=False),
    "STRING": _string,
    "MARKDOWN": _with(""),
    "COMBO": _combo,
    DYNAMIC_COMBO: _dynamic_combo,
    "TEXTAREA": _with_nested("default", ""),
    "COLOR": _with_nested("default", "#000000"),
    "CHART": _with_nested("data", {}),
    "GALLERIA": _with_nested("images", []),
    "PAINTER": _with(""),
    "COMPOSITOR": _with({}),
    "CURVE": _with({"points": [[0, 0], [1, 1]], "interpolation": "monotone_cubic"}),
    "RANGE": _with({"min": 0.0, "max": 1.0}),
    "BOUNDING_BOX": _box,
    "BOUNDING_BOXES": _with([]),
    "COLORS": _with([]),
    "IMAGECOMPARE": _with(["", ""], saved=False),
    "IMAGEUPLOAD": _button,
    "AUDIOUPLOAD": _button,
    "AUDIO_UI": _with("", saved=False, sent=False),
    "PREVIEW_3D": _with("", sent=False),
    "LOAD_3D": _with(""),
    "LOAD_3D_ADVANCED": _with(""),
    "WEBCAM": _with(""),
    "AUDIO_RECORD": _with(""),
}
"""The widgets of the front end by the type of input that asks for them."""
