"""Custom node pack for a real ComfyUI under test: faults of the built-in engine, planned over the same routes.

``POST /emulator/faults {"faults": ["exit:node=ImageInvert,code=139", …]}`` plans them; see docs/reference/faults.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import comfy.model_management
import nodes
import torch
from aiohttp import web
from server import PromptServer

NODE_CLASS_MAPPINGS: dict[str, type] = {}
STRUCK_CLASSES = ("EmptyImage", "LoadImage", "ImageInvert", "SaveImage")

planned: list[dict[str, str]] = []
struck: list[str] = []
broken: list[str] = []


def strike(class_type: str) -> None:
    """Perform the faults that wait for this node class, in the order in which they were planned."""
    if broken:
        raise RuntimeError(broken[0])
    for fault in take(lambda fault: fault["kind"] != "slow_response" and fault.get("node", class_type) == class_type):
        perform(fault)


def take(matches: Callable[[dict[str, str]], bool]) -> Iterator[dict[str, str]]:
    """The planned faults that match, each counted as it strikes."""
    for fault in planned:
        if matches(fault) and int(fault["times"]) > 0:
            fault["times"] = str(int(fault["times"]) - 1)
            struck.append(fault["spec"])
            logging.getLogger(__name__).warning("fault %s strikes", fault["spec"])
            yield fault


def perform(fault: dict[str, str]) -> None:
    kind, seconds = fault["kind"], float(fault.get("seconds", 3600))
    if kind == "exit":
        if "signal" in fault:
            os.kill(os.getpid(), int(fault["signal"]))
            time.sleep(60)
        os._exit(int(fault.get("code", 139)))
    elif kind == "hang":
        time.sleep(seconds)
    elif kind == "hang_server":
        PromptServer.instance.loop.call_soon_threadsafe(time.sleep, seconds)
        time.sleep(seconds)
    elif kind == "slow":
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            comfy.model_management.throw_exception_if_processing_interrupted()
            time.sleep(0.05)
    else:
        raise exception(fault)


def exception(fault: dict[str, str]) -> BaseException:
    if fault["kind"] == "thread_death":
        return SystemExit(3)  # ends the thread that runs prompts, without a word
    if fault["kind"] == "full_disk":
        return OSError(28, "No space left on device")
    if fault["kind"] == "cuda_error":
        broken.append("CUDA error: an illegal memory access was encountered")
        return RuntimeError(broken[0])
    if fault["kind"] == "out_of_memory":
        text = "CUDA out of memory. Tried to allocate 20.00 GiB."
        return (
            torch.OutOfMemoryError(text) if fault.get("form") == "torch" else RuntimeError("CUDA error: out of memory")
        )
    raise ValueError(fault["kind"])


def parse(spec: str) -> dict[str, str]:
    kind, _, rest = spec.partition(":")
    return {"spec": spec, "kind": kind, "times": "1", **dict(pair.split("=", 1) for pair in rest.split(",") if pair)}


@PromptServer.instance.routes.post("/emulator/faults")
async def plan(request: web.Request) -> web.Response:
    planned.extend(map(parse, (await request.json())["faults"]))
    return web.json_response({})


@PromptServer.instance.routes.get("/emulator/faults")
async def show(_: web.Request) -> web.Response:
    return web.json_response({"faults": [{"fault": spec, "struck": 1} for spec in struck]})


@web.middleware
async def slow_down(request: web.Request, handler: Any) -> web.StreamResponse:
    path = request.path.removeprefix("/api")
    for fault in take(lambda fault: fault["kind"] == "slow_response" and path.startswith(fault["path"])):
        await asyncio.sleep(float(fault["seconds"]))
    return await handler(request)


PromptServer.instance.app.middlewares.append(slow_down)


def wrap(class_type: str) -> None:
    node = nodes.NODE_CLASS_MAPPINGS[class_type]
    run = getattr(node, node.FUNCTION)

    def struck(self: Any, *arguments: Any, **inputs: Any) -> Any:
        strike(class_type)
        return run(self, *arguments, **inputs)

    setattr(node, node.FUNCTION, struck)


for name in STRUCK_CLASSES:
    wrap(name)
