"""Boots as ComfyUI does (main.py), as far as packs see it, with the pack at ``argv[1]``; prints what became of memory.

A program of its own, because what it freezes stays frozen.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import runpy
import sys
import types
import weakref
from pathlib import Path
from typing import Any

from aiohttp import web

pack = Path(sys.argv[1])


class Cache:
    """Of nodes' results: it refers to itself, as ComfyUI's does."""

    def __init__(self) -> None:
        self.own = self
        self.results: dict[str, Any] = {}


class Model:
    """What a job loads."""


async def import_packs() -> None:
    spec = importlib.util.spec_from_file_location("comfypod_nodes", pack / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["comfypod_nodes"] = module
    spec.loader.exec_module(module)
    later.append(["a pack that comes later"])


later: list[Any] = []
application = web.Application()
runpy.run_path(str(pack / "prestartup_script.py"))
waited = not gc.isenabled()
imported = [[number] for number in range(50_000)]
if "without_comfyui" not in sys.argv:
    sys.modules["server"] = types.ModuleType("server")
    instance = types.SimpleNamespace(app=application)
    sys.modules["server"].PromptServer = types.SimpleNamespace(instance=instance)  # type: ignore[attr-defined]
loop = asyncio.new_event_loop()
loop.run_until_complete(import_packs())

cache, model = Cache(), Model()
cache.results["1"] = model
loop.run_until_complete(web.AppRunner(application).setup())
watched = weakref.ref(model)
seen = {id(item) for item in gc.get_objects()}
del model
cache = Cache()
gc.collect()
print(
    json.dumps(
        {
            "waited": waited,
            "enabled": gc.isenabled(),
            "looked_through": len(seen),
            "later_pack_looked_through": id(later[0]) in seen,
            "model_is_gone": watched() is None,
        }
    )
)
