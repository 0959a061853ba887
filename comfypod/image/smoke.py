"""Whether a fresh image works: ComfyUI, on the CPU if need be, all its node packs and workflows, and one real job."""

from __future__ import annotations

import asyncio
import base64
import fnmatch
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfypod.comfyui.catalogue import Catalogue
from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.comfyui.node_packs import NodePacks
from comfypod.comfyui.server import Server
from comfypod.deadline import Deadline
from comfypod.errors import ConfigurationError, SmokeTestFailed
from comfypod.schema.template import Template, load_template
from comfypod.schema.wire import as_object
from comfypod.settings import Settings
from comfypod.worker.main import WorkerApplication

ASK_SECONDS = 60.0
JOB: Mapping[str, Any] = {
    "workflow": {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 32, "batch_size": 1, "color": 255}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "smoke"}},
    }
}
"""A job that needs no model: a blue picture, made of nodes that every ComfyUI has."""

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class SmokeReport:
    """What was found to work: ComfyUI's version, how many packs and node classes it has, and the seconds it took."""

    comfyui_version: str
    packs: int
    classes: int
    workflows: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"ComfyUI {self.comfyui_version} works: {self.classes} node classes, {self.packs} node packs, "
            f"{self.workflows} workflows, one job; {self.seconds:.1f} s"
        )


def run_smoke_test(root: Path, environment: Mapping[str, str]) -> SmokeReport:
    """Start the worker of the repository at ``root`` and see that everything it ships can run.

    Raises:
        SmokeTestFailed: a node pack did not load, a class is missing, or the job failed; every problem is named.
        ComfyUIUnavailable: ComfyUI did not start, or failed its self-test.
        ConfigurationError: a setting or a file of the repository is not valid.
    """
    begun = time.monotonic()
    _check_source(root, environment)
    with WorkerApplication(Settings.from_environment(environment), root, environment) as worker:
        worker.wait_until_ready()
        version, catalogue, server = asyncio.run(_look(worker))
        packs, workflows = _packs(root), _workflows(root / "workflows")
        problems = [
            *(f"The node pack {pack} failed to load: {reason}." for pack, reason in server.failed_imports.items()),
            *_missing_of_packs(packs, catalogue),
            *_missing_of_workflows(workflows, catalogue),
            *asyncio.run(_job_problems(worker)),
        ]
    if problems:
        raise SmokeTestFailed(problems)
    return SmokeReport(version, len(packs.pack), len(catalogue.object_info), len(workflows), time.monotonic() - begun)


def _check_source(root: Path, environment: Mapping[str, str]) -> None:
    """A worker without a ComfyUI would fall back to the built-in engine, which proves nothing about an image."""
    is_named = any(environment.get(name, "").strip() for name in ("COMFYUI_URL", "COMFYUI_COMMAND"))
    if not is_named and not (root / "ComfyUI" / "main.py").is_file():
        raise ConfigurationError([f"There is no ComfyUI in {root / 'ComfyUI'}: run `comfypod comfyui install`."])


async def _look(worker: WorkerApplication) -> tuple[str, Catalogue, Server]:
    """ComfyUI's version and classes, and the process behind them."""
    server = await worker.comfyui(Deadline.after(ASK_SECONDS))
    async with ComfyUIHTTP(server.url, ASK_SECONDS) as http:
        system = as_object((await http.system_stats()).get("system"))
        catalogue = Catalogue(await http.object_info(), list(await http.node_replacements()))
    return str(system.get("comfyui_version", "of unknown version")), catalogue, server


def _packs(root: Path) -> NodePacks:
    return NodePacks.load(root / "custom_nodes" / "nodes.toml")


def _workflows(folder: Path) -> dict[str, Template]:
    return {path.name: load_template(folder, path.stem) for path in sorted(folder.glob("*.json"))}


def _missing_of_packs(packs: NodePacks, catalogue: Catalogue) -> Iterator[str]:
    for pack in packs.pack:
        for pattern in pack.classes:
            if not fnmatch.filter(catalogue.object_info, pattern):
                yield f"The node pack {pack.name} brings no class {pattern}, which nodes.toml lists."


def _missing_of_workflows(workflows: Mapping[str, Template], catalogue: Catalogue) -> Iterator[str]:
    for name, template in workflows.items():
        for node_id, node in template.workflow.items():
            if node["class_type"] not in catalogue:
                yield f"workflows/{name}: node {node_id} has the class {node['class_type']}, which is not installed."


async def _job_problems(worker: WorkerApplication) -> list[str]:
    """What is wrong with the answer to `JOB`."""
    answer = await worker.handler(None)({"id": "smoke", "input": dict(JOB)})
    if answer["status"] != "success":
        return [f"A job without a model failed with {answer['code']}: {answer['error']}"]
    images = answer["images"]
    content = base64.b64decode(images[0].get("data", "")) if len(images) == 1 else b""
    if not content.startswith(_PNG) or hashlib.sha256(content).hexdigest() != images[0].get("sha256"):
        return [f"A job without a model did not return its picture, but {json.dumps(answer)[:500]}."]
    return []
