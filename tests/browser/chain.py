"""The chain behind the page: its server, a local RunPod, the real SDK's worker, and the built-in engine."""

from __future__ import annotations

import io
import itertools
import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from comfypod.child import Child
from tests.serving import serve

ROOT = Path(__file__).parents[2]
KEY = "k3y-that-no-browser-may-ever-see"
FAILING, SLOW = "13", "30"
"""Ids of nodes: the engine fails in the one, and takes its time in the other."""
FAILURE = "the picture is too large for this GPU"
SLOW_STEPS = 8
SLOW_STEP_SECONDS = 0.35
_SEEDS = itertools.count(1)
"""Each workflow has another: what the engine has made before it would not make again."""


class Chain:
    """An endpoint and the page's server, each a process that can be stopped and started again at the same address."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNPOD_", "COMFY"))}
        secrets = {"COMFYPOD_LOCAL_API_KEY": KEY, "RUNPOD_API_KEY": KEY}
        settings = {"PROGRESS_INTERVAL_SECONDS": "0.1", "COMFYUI_COMMAND": _engine(folder / "engine")}
        self.environment = {**kept, **secrets, **settings, "HOME": str(folder), "PYTHONUNBUFFERED": "1", **environment}
        self.endpoint_url = ""
        self.url = ""
        self._endpoint: Child | None = None
        self._server: Child | None = None

    def start(self) -> None:
        self.start_endpoint()
        self.start_server()

    def stop(self) -> None:
        self.stop_server()
        self.stop_endpoint()

    def start_endpoint(self) -> None:
        options = ["--port", _port(self.endpoint_url), "--state", str(self.folder / "jobs.json")]
        self._endpoint, self.endpoint_url = serve(
            "emulate", "runpod", *options, environment=self.environment, folder=ROOT
        )

    def start_server(self) -> None:
        where = ["--endpoint", "local", "--base-url", self.endpoint_url, "--patience", "1"]
        options = ["--port", _port(self.url), "--data", str(self.folder / "data"), "--dollars-per-second", "0.00031"]
        self._server, self.url = self._serve("web", *where, *options)

    def stop_endpoint(self) -> None:
        if self._endpoint is not None:
            self._endpoint.stop(grace_seconds=10)

    def stop_server(self) -> None:
        if self._server is not None:
            self._server.stop(grace_seconds=10)

    def _serve(self, *arguments: str) -> tuple[Child, str]:
        return serve(*arguments, environment=self.environment, folder=ROOT)


def _engine(folder: Path) -> str:
    """The built-in engine with one node that fails and one that is slow, known by their ids."""
    faults = [f"raise:node={FAILING},message={FAILURE},times=0"]
    faults += [f"slow:node={SLOW},step={step},seconds={SLOW_STEP_SECONDS},times=0" for step in range(1, SLOW_STEPS + 1)]
    options = ["--base-directory", str(folder), "--models", str(ROOT / "models.toml")]
    for fault in faults:
        options += ["--fault", fault]
    return shlex.join([sys.executable, "-m", "comfypod", "emulate", "comfyui", *options])


def _port(url: str) -> str:
    """The port of an address that was served before; 0 for any."""
    return str(urlsplit(url).port or 0)


def workflow(
    sampler: str = "3",
    *,
    title: str = "KSampler",
    prompt: str = "three yellow stars on night",
    size: int = 128,
    steps: int = 4,
) -> dict[str, Any]:
    """A workflow in API format that makes a picture; ``sampler`` is the id of its sampler."""
    document = json.loads((ROOT / "workflows" / "text_to_image.json").read_text(encoding="utf-8"))["workflow"]
    node = document.pop("3")
    node["_meta"]["title"] = title
    node["inputs"].update(steps=steps, seed=next(_SEEDS))
    document[sampler] = node
    document["8"]["inputs"]["samples"] = [sampler, 0]
    document["5"]["inputs"].update(width=size, height=size)
    document["6"]["inputs"]["text"] = prompt
    return dict(document)


def file_of(document: Mapping[str, Any], name: str = "workflow.json") -> dict[str, Any]:
    """A document as a file that is chosen or dropped."""
    return {"name": name, "mimeType": "application/json", "buffer": json.dumps(document).encode()}


def picture_file(
    colour: tuple[int, int, int], size: tuple[int, int] = (96, 64), name: str = "photo.png"
) -> dict[str, Any]:
    """A picture of one colour as a file that is chosen or dropped."""
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": content.getvalue()}
