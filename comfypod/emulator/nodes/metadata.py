"""What a saved file tells about how it was made, so that it can be opened in ComfyUI: the prompt and the workflow."""

from __future__ import annotations

import json

from comfypod.emulator.nodes.base import NodeContext


def embedded_texts(context: NodeContext) -> dict[str, str]:
    """Return ``prompt`` and the fields of ``extra_pnginfo`` (``workflow`` and others), each as JSON."""
    fields = {"prompt": context.prompt, **(context.extra_pnginfo or {})}
    return {key: json.dumps(value) for key, value in fields.items()}
