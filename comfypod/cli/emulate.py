"""``comfypod emulate …``: run an emulated server until it is told to stop."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from pathlib import Path

from comfypod import logs
from comfypod.cli.local import READY_PREFIX
from comfypod.emulator.comfyui import ComfyUIEmulator
from comfypod.emulator.runpod import RunPodEmulator
from comfypod.errors import ConfigurationError
from comfypod.settings import Settings

WORKER_SCRIPT = Path("rp_handler.py")


def serve_comfyui(host: str, port: int, base_directory: Path, models_file: Path | None, preview_method: str) -> None:
    """Run the built-in engine until SIGINT or SIGTERM."""
    logs.configure(Settings())
    asyncio.run(_serve_comfyui(host, port, base_directory, models_file, preview_method))


async def _serve_comfyui(
    host: str, port: int, base_directory: Path, models_file: Path | None, preview_method: str
) -> None:
    stop = _stop_signal()
    try:
        emulator = ComfyUIEmulator(base_directory, models_file=models_file, preview_method=preview_method)
        await emulator.start(host, port)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError([f"The built-in engine cannot start at {host}:{port}: {error}"]) from error
    try:
        print(f"{READY_PREFIX}{emulator.url}", flush=True)
        await stop.wait()
    finally:
        await emulator.stop()


def serve_runpod(port: int, endpoint_id: str, api_key: str, workers: int, worker_command: str | None) -> None:
    """Run a local RunPod and its workers until SIGINT or SIGTERM."""
    logs.configure(Settings())
    if worker_command is None and workers and not WORKER_SCRIPT.is_file():
        raise ConfigurationError([f"There is no {WORKER_SCRIPT} here; go to the repository, or use --worker-command."])
    command = shlex.split(worker_command) if worker_command else [sys.executable, "-u", str(WORKER_SCRIPT)]
    asyncio.run(_serve_runpod(port, endpoint_id, api_key, workers, command))


async def _serve_runpod(port: int, endpoint_id: str, api_key: str, workers: int, command: list[str]) -> None:
    stop = _stop_signal()
    worker_command = command if workers else []
    emulator = RunPodEmulator(endpoint_id, api_key, worker_command=worker_command, worker_count=workers)
    try:
        await emulator.start(port=port)
    except OSError as error:
        raise ConfigurationError([f"The local RunPod cannot start at port {port} ({error})."]) from error
    try:
        print(f"{READY_PREFIX}{emulator.base_url}", flush=True)
        await stop.wait()
    finally:
        await emulator.stop()


def _stop_signal() -> asyncio.Event:
    """Set on SIGINT and SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
