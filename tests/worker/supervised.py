"""A worker whose ComfyUI is its own, and in which faults can be planned while it runs.

It is the built-in engine, or, with COMFYUI_COMMAND set, a real ComfyUI with the custom nodes in ``fault_pack``.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import requests
from worker_jobs import ROOT

from comfypod.comfyui.process import ComfyUIProcess
from comfypod.comfyui.supervisor import RestartPolicy, Supervisor
from comfypod.deadline import Deadline
from comfypod.settings import Settings
from comfypod.worker.facilities import Facilities
from comfypod.worker.handler import Handler

START_SECONDS = 60.0


class SupervisedWorker:
    """A handler and the supervisor of its ComfyUI; ``updates`` is the progress that it sends."""

    def __init__(self, supervisor: Supervisor, settings: Settings) -> None:
        self.supervisor = supervisor
        self.updates: list[Mapping[str, Any]] = []
        self.handler = Handler(Facilities.of_repository(ROOT, settings, {}), supervisor, self._send)

    async def _send(self, _: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        self.updates.append(value)

    async def process(self) -> ComfyUIProcess:
        """The ComfyUI that runs, once it is ready."""
        process = await self.supervisor.ready(Deadline.after(START_SECONDS))
        assert isinstance(process, ComfyUIProcess)
        return process

    async def plan(self, *faults: str) -> None:
        """Let the engine that runs now fail in these ways and no others; one that takes its place knows of none."""
        async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as session:
            while True:
                url = (await self.process()).url + "/emulator/faults"
                try:
                    if REAL_COMMAND is None:
                        await session.delete(url)
                    response = await session.post(url, json={"faults": list(faults)})
                except aiohttp.ClientError:  # it was about to die of an earlier one
                    await asyncio.sleep(0.05)
                    continue
                assert response.status == 200, await response.text()
                return

    async def pid(self) -> int:
        child = (await self.process())._child
        assert child is not None
        return child.process.pid

    async def until(self, stage: str, **fields: Any) -> None:
        """Return when an update of ``stage`` with these fields was sent."""
        async with asyncio.timeout(START_SECONDS):
            while not any(
                update["stage"] == stage and all(update.get(key) == value for key, value in fields.items())
                for update in self.updates
            ):
                await asyncio.sleep(0.005)


REAL_COMMAND = os.environ.get("COMFYUI_COMMAND")
engine_only = pytest.mark.skipif(REAL_COMMAND is not None, reason="a real ComfyUI cannot be told to fail in this way")


def comfyui_command(folder: Path, *flags: str) -> list[str]:
    """The engine, or the real one with the pack that makes it fail."""
    if REAL_COMMAND is None:
        return engine_command(folder, *flags)
    (folder / "packs").mkdir(exist_ok=True)
    shutil.copytree(Path(__file__).parent / "fault_pack", folder / "packs" / "fault_pack", dirs_exist_ok=True)
    paths = folder / "paths.yaml"
    paths.write_text(f"faults:\n  base_path: {folder}\n  custom_nodes: packs\n")
    return [*shlex.split(REAL_COMMAND), "--extra-model-paths-config", str(paths), *flags]


def engine_command(folder: Path, *flags: str) -> list[str]:
    engine = [sys.executable, "-m", "comfypod", "emulate", "comfyui", "--base-directory", str(folder / "engine")]
    return [*engine, "--models", str(ROOT / "models.toml"), "--accept-faults", *flags]


def wait_for_the_end_of_the_self_test(supervisor: Supervisor) -> None:
    """It has passed before its prompt has ended, which would meet a fault that is planned for a job."""
    assert supervisor._process is not None
    url = supervisor._process.url
    deadline = time.monotonic() + START_SECONDS
    while any(_running(url)) or requests.get(f"{url}/history", timeout=START_SECONDS).json():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _running(url: str) -> Iterator[Any]:
    queue = requests.get(f"{url}/queue", timeout=START_SECONDS).json()
    return itertools.chain(queue["queue_running"], queue["queue_pending"])


@contextmanager
def supervised_worker(
    folder: Path, *flags: str, command: list[str] | None = None, restarts: int = 5, **settings: str
) -> Iterator[SupervisedWorker]:
    """A worker that is ready; its ComfyUI, and whatever took its place, is gone afterwards."""
    environment = {"PROGRESS_INTERVAL_SECONDS": "0.1", **{name.upper(): value for name, value in settings.items()}}
    policy = RestartPolicy(START_SECONDS, restarts)
    command = command or comfyui_command(folder, *flags)
    supervisor = Supervisor(lambda: ComfyUIProcess(command, ROOT), policy)
    before = set(psutil.Process().children(recursive=True))
    supervisor.start()
    try:
        supervisor.wait_until_ready()
        if not flags:  # else the faults that they plan would meet the look
            wait_for_the_end_of_the_self_test(supervisor)
        yield SupervisedWorker(supervisor, Settings.from_environment(environment))
    finally:
        supervisor.stop()
        left = {child for child in psutil.Process().children(recursive=True) if child.is_running()} - before
        assert not [child for child in left if child.status() != psutil.STATUS_ZOMBIE]
