"""Nodes on plain values: PreviewAny shows one, the Primitive nodes give one, StringConcatenate joins two."""

from __future__ import annotations

import json
import sys
from typing import Any

from comfypod.emulator.nodes.base import Input, NodeClass, NodeContext, NodeResult


def _show(_context: NodeContext, source: object) -> NodeResult:
    return NodeResult(ui={"text": [_as_text(source)]})


def _as_text(value: object) -> str:
    """Texts as they are, numbers as Python writes them, the rest as JSON if it can be."""
    if isinstance(value, str):
        return value
    if value is None:
        return "None"
    if isinstance(value, int | float):
        return str(value)
    try:
        return json.dumps(value, indent=4)
    except (TypeError, ValueError):
        return str(value)


def _give(_context: NodeContext, value: object) -> NodeResult:
    return NodeResult((value,))


def _concatenate(_context: NodeContext, *, string_a: str, string_b: str, delimiter: str) -> NodeResult:
    return NodeResult((delimiter.join((string_a, string_b)),))


def _primitive(name: str, display_name: str, kind: str, **options: Any) -> NodeClass:  # noqa: ANN401 - ComfyUI's options
    return NodeClass(
        name=name,
        run=_give,
        required={"value": Input(kind, options)},
        outputs=(kind,),
        display_name=display_name,
        category="utils/primitive",
    )


PREVIEW_ANY = NodeClass(
    name="PreviewAny",
    run=_show,
    required={"source": Input("*")},
    output_node=True,
    display_name="Preview as Text",
    category="utils",
)

_TEXT = Input("STRING", {"multiline": True})

STRING_CONCATENATE = NodeClass(
    name="StringConcatenate",
    run=_concatenate,
    required={
        "string_a": _TEXT,
        "string_b": _TEXT,
        "delimiter": Input("STRING", {"default": "", "multiline": False}),
    },
    outputs=("STRING",),
    display_name="Concatenate",
    category="utils/string",
)

NODES = (
    PREVIEW_ANY,
    STRING_CONCATENATE,
    _primitive("PrimitiveString", "String", "STRING", multiline=False),
    _primitive("PrimitiveStringMultiline", "String (Multiline)", "STRING", multiline=True),
    _primitive("PrimitiveInt", "Int", "INT", min=-sys.maxsize, max=sys.maxsize, control_after_generate=True),
    _primitive("PrimitiveFloat", "Float", "FLOAT", min=-sys.maxsize, max=sys.maxsize, step=0.1),
    _primitive("PrimitiveBoolean", "Boolean", "BOOLEAN"),
)
