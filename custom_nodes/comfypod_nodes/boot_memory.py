"""What ComfyUI has imported by the end of its boot is not searched for garbage any more.

ComfyUI collects garbage after its first prompt, and after any later one when ten seconds have passed (main.py,
prompt_worker). It holds the interpreter meanwhile: its server answers nothing, and the next prompt waits, for about
300 ms with the half a million objects that its own modules are made of. Frozen objects (`gc.freeze`) are left out;
what prompts make, models too, is collected as before.
"""

from __future__ import annotations

import asyncio
import gc
import sys


def settle() -> None:
    """Freeze what has been imported; and again when the packs that come after this one have been, too.

    Not later: ComfyUI makes the cache of its nodes' results next, and puts another in its place when memory is to be
    freed. The old one refers to itself, so only the collector can free it, with the models in it; frozen, it would
    keep them for ever. Anywhere but in ComfyUI nothing is frozen.
    """
    if hasattr(sys.modules.get("server"), "PromptServer"):
        gc.freeze()  # first: else the collector would begin with everything that was imported while it waited
        task = _importing_task()
        if task is not None:
            task.add_done_callback(_freeze)
    gc.enable()  # prestartup_script.py has let it wait


def _importing_task() -> asyncio.Task[object] | None:
    """The task that imports all packs, whose end ComfyUI waits for (nodes.py, init_extra_nodes); None: it has none."""
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs
        return None


def _freeze(_: object) -> None:
    """Without a collection before it: that one finds some 15,000 objects, a few megabytes, in half a second of boot."""
    gc.freeze()
