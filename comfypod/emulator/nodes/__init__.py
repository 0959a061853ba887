"""The nodes of the built-in engine, under the names and with the inputs of ComfyUI's own.

For development and tests: the sampler draws simple pictures and loads no model. A server needs ``NODE_CLASSES`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from comfypod.emulator.nodes import conditioning, image, latent, loaders, output, text
from comfypod.emulator.nodes.base import NodeClass

NODE_CLASSES: Mapping[str, NodeClass] = {
    node.name: node for module in (loaders, conditioning, latent, image, output, text) for node in module.NODES
}

__all__ = ["NODE_CLASSES"]
