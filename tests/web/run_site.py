"""What the tests of runs share: a platform that does as it is told, its answers, and waiting for what is to come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from comfypod import Client
from comfypod.web.documents import Run
from comfypod.web.runs.service import Runs, RunsOptions
from tests.cli.conftest import artifact as plain_artifact
from tests.cloud.scripted_runpod import API_KEY, ENDPOINT_ID, ScriptedRunPod

ROOT = Path(__file__).parents[2]
VISITOR, STRANGER = "0123456789abcdef", "fedcba9876543210"
SECONDS = 20.0
"""Longest wait for anything in here; far more than any of it takes."""
PROMPT = {"workflow": "text_to_image", "parameters": {"prompt": "a fox"}}
Result = TypeVar("Result")


def client_of(platform: ScriptedRunPod) -> Client:
    return Client(ENDPOINT_ID, API_KEY, platform.base_url, patience_seconds=0.3)


@asynccontextmanager
async def runs_at(client: Client, folder: Path, **options: Any) -> AsyncIterator[Runs]:
    """A server's runs; leaving is the server's end."""
    async with Runs(client, folder, RunsOptions(templates_folder=ROOT / "workflows", **options)) as runs:
        yield runs


async def until(ask: Callable[[], Awaitable[Result]], is_so: Callable[[Result], bool]) -> Result:
    """Ask until it is so."""
    async with asyncio.timeout(SECONDS):
        while not is_so(result := await ask()):
            await asyncio.sleep(0.01)
    return result


async def run_when(runs: Runs, run: Run, is_so: Callable[[Run], bool]) -> Run:
    """The run, once it is so."""
    return await until(lambda: runs.get(VISITOR, run.id), is_so)


async def ended(runs: Runs, run: Run) -> Run:
    """The run, once it has ended."""
    return await run_when(runs, run, lambda run: run.has_ended)


def artifact(content: bytes, filename: str = "fox_00001_.png", **more: Any) -> dict[str, Any]:
    """A picture of the node that the runs of these tests save with."""
    return plain_artifact(content, filename, **{"node_title": "Save Image", "width": 8, "height": 4, **more})


def success(*images: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The fields of a job that succeeded."""
    output = {"status": "success", "images": list(images), "files": [], "texts": [], "warnings": [], **more}
    return {"status": "COMPLETED", "output": output, "executionTime": 2000, "delayTime": 40}


def progress(value: float, **more: Any) -> dict[str, Any]:
    """The fields of a job that runs."""
    return {"status": "IN_PROGRESS", "output": {"sequence": 1, "stage": "execute", "value": value, **more}}
