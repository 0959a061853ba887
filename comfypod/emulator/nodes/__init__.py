"""The nodes of the built-in engine, under the names and with the inputs of ComfyUI's own.

For development and tests: the sampler draws simple pictures and loads no model. A server needs ``NODE_CLASSES`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from comfypod.emulator.nodes import (
    animation,
    audio,
    conditioning,
    image,
    latent,
    loaders,
    mesh,
    output,
    tensor_files,
    text,
    video,
)
from comfypod.emulator.nodes.base import NodeClass

_MODULES = (loaders, conditioning, latent, tensor_files, image, output, animation, audio, video, mesh, text)

NODE_CLASSES: Mapping[str, NodeClass] = {node.name: node for module in _MODULES for node in module.NODES}

__all__ = ["NODE_CLASSES"]
