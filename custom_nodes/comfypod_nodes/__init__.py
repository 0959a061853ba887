"""Nodes for workflows that run as jobs: named parameters, names of output files, values among the results.

Besides, ComfyUI's boot and the time between two prompts are shorter with this pack: see `boot_memory` and `fast_png`.
"""

from . import boot_memory

try:
    from . import fast_png
    from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
finally:
    boot_memory.settle()  # whatever happens: else the collector would stay off

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]

fast_png.install()
