"""Nodes on plain values: PreviewAny shows one, the Primitive nodes give one."""

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
        return json.dumps(value)
    except (TypeError, ValueError):
        return str(value)


def _give(_context: NodeContext, value: object) -> NodeResult:
    return NodeResult((value,))


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
    display_name="Preview Any",
    category="utils",
)

NODES = (
    PREVIEW_ANY,
    _primitive("PrimitiveString", "String", "STRING", multiline=False),
    _primitive("PrimitiveStringMultiline", "String (Multiline)", "STRING", multiline=True),
    _primitive("PrimitiveInt", "Int", "INT", min=-sys.maxsize, max=sys.maxsize, control_after_generate=True),
    _primitive("PrimitiveFloat", "Float", "FLOAT", min=-sys.maxsize, max=sys.maxsize),
    _primitive("PrimitiveBoolean", "Boolean", "BOOLEAN"),
)
