"""What the engine says about itself: ``/object_info``, ``/system_stats``, ``/features``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from comfypod.emulator.engine.validation import describe_input
from comfypod.emulator.nodes.base import Catalog, Input, NodeClass

# The version whose behaviour is emulated.
COMFYUI_VERSION = "0.8.0"


def describe_class(node_class: NodeClass, catalog: Catalog) -> dict[str, Any]:
    """Return a class as ``/object_info`` shows it. Hidden inputs are ComfyUI's own affair and left out."""
    groups = {"required": node_class.required, "optional": node_class.optional}
    declared = {group: inputs for group, inputs in groups.items() if inputs or group == "required"}
    return {
        "input": {
            group: {name: _describe_input(declaration, catalog) for name, declaration in inputs.items()}
            for group, inputs in declared.items()
        },
        "input_order": {group: list(inputs) for group, inputs in declared.items()},
        "output": list(node_class.outputs),
        "output_is_list": [False] * len(node_class.outputs),
        "output_name": list(node_class.output_names or node_class.outputs),
        "name": node_class.name,
        "display_name": node_class.display_name or node_class.name,
        "description": node_class.description,
        "python_module": "nodes",
        "category": node_class.category,
        "output_node": node_class.output_node,
    }


def _describe_input(declaration: Input, catalog: Catalog) -> list[Any]:
    kind, options = describe_input(declaration, catalog)
    return [kind, options] if options else [kind]


def features(maximum_body_bytes: int) -> dict[str, Any]:
    """Return the server's feature flags."""
    return {
        "supports_preview_metadata": True,
        "max_upload_size": maximum_body_bytes,
        "extension": {"manager": {"supports_v4": True}},
    }


def system_stats(arguments: Sequence[str]) -> dict[str, Any]:
    """Return ``/system_stats``; ``comfypod_emulator`` and the device's name say that this is not ComfyUI."""
    total, free = _memory_bytes()
    memory: Mapping[str, int] = {
        "vram_total": total,
        "vram_free": free,
        "torch_vram_total": total,
        "torch_vram_free": free,
    }
    return {
        "system": {
            "os": sys.platform,
            "ram_total": total,
            "ram_free": free,
            "comfyui_version": COMFYUI_VERSION,
            "comfypod_emulator": True,
            "python_version": sys.version,
            "pytorch_version": "none: built-in engine of comfypod",
            "embedded_python": False,
            "argv": list(arguments),
        },
        "devices": [{"name": "cpu (built-in engine of comfypod)", "type": "cpu", "index": None, **memory}],
    }


def _memory_bytes() -> tuple[int, int]:
    """Return total and free memory; zeros where the system does not tell."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0, 0
