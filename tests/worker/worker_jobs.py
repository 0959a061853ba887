"""Jobs to run and what to look at, for the tests of this folder."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image

from comfypod.comfyui.server import RemoteServer
from comfypod.settings import Settings
from comfypod.worker.facilities import Facilities
from comfypod.worker.handler import Handler

ROOT = Path(__file__).parents[2]


def make_handler(comfyui_url: str, send_progress: Any = None, **settings: str) -> Handler:
    environment = {"PROGRESS_INTERVAL_SECONDS": "0.1", **{name.upper(): value for name, value in settings.items()}}
    facilities = Facilities.of_repository(ROOT, Settings.from_environment(environment), {})
    return Handler(facilities, RemoteServer(comfyui_url), send_progress)


def job(**job_input: Any) -> dict[str, Any]:
    return {"id": f"test-{uuid.uuid4()}-u1", "input": job_input}


def save_color(color: int, size: int = 64) -> dict[str, Any]:
    """A workflow of three nodes that needs no model; a color that was not used before is not cached."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": size, "height": size, "batch_size": 1, "color": color}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {
            "class_type": "SaveImage",
            "inputs": {"images": ["2", 0], "filename_prefix": "simple"},
            "_meta": {"title": "Save it"},
        },
    }


def sampling(checkpoint: str, steps: int) -> dict[str, Any]:
    # A seed of its own, so that no cached result ends it at once. An interrupt takes effect after a step, so a step
    # must be short: a real model on a CPU needs 0.1 s for one of 128 pixels.
    seed, size = uuid.uuid4().int % 2**32, 128 if {"COMFYUI_URL", "COMFYUI_COMMAND"} & set(os.environ) else 512
    parameters = {"checkpoint": checkpoint, "steps": steps, "width": size, "height": size, "seed": seed}
    return {"workflow": "text_to_image", "prompt": "a red circle on blue", "parameters": parameters}


def decoded(artifact: Mapping[str, Any]) -> Image.Image:
    content = base64.b64decode(artifact["data"], validate=True)
    assert len(content) == artifact["size_bytes"]
    assert hashlib.sha256(content).hexdigest() == artifact["sha256"]
    image = Image.open(io.BytesIO(content))
    assert image.size == (artifact["width"], artifact["height"])
    return image


async def get(comfyui_url: str, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(f"{comfyui_url}{path}") as response:
        return await response.json()


async def queue_of(comfyui_url: str) -> dict[str, list[Any]]:
    return await get(comfyui_url, "/queue")  # type: ignore[no-any-return]


async def wait_until_idle(comfyui_url: str, seconds: float) -> float:
    """The seconds until nothing runs and nothing waits."""
    begun = time.monotonic()
    async with asyncio.timeout(seconds):
        while any((await queue_of(comfyui_url)).values()):
            await asyncio.sleep(0.01)
    return time.monotonic() - begun


async def wait_until_sampling(updates: list[Mapping[str, Any]]) -> None:
    async with asyncio.timeout(60):
        while not any(update.get("step") for update in updates):
            await asyncio.sleep(0.01)
