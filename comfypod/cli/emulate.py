"""``comfypod emulate comfyui``: run the built-in engine until it is told to stop."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfypod import logs
from comfypod.cli.services import READY_PREFIX
from comfypod.cli.stopping import stop_signal
from comfypod.emulator.comfyui import ComfyUIEmulator
from comfypod.emulator.faults import Fault
from comfypod.errors import ConfigurationError
from comfypod.settings import Settings


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What ``comfypod emulate comfyui`` is told: see its ``--help``."""

    host: str
    port: int
    base_directory: Path
    models_file: Path | None
    preview_method: str
    faults: Sequence[str] = ()
    accept_faults: bool = False
    only_present_models: bool = False
    input_directory: Path | None = None
    output_directory: Path | None = None
    temporary_directory: Path | None = None


def serve_comfyui(options: EngineOptions) -> None:
    """Run the built-in engine until SIGINT or SIGTERM, or until something ends it: then exit with code 1."""
    logs.configure(Settings())
    cause = asyncio.run(_serve_comfyui(options))
    if cause is not None:
        traceback.print_exception(cause)
        sys.exit(1)


async def _serve_comfyui(options: EngineOptions) -> BaseException | None:
    """Return what ended the engine, None if it was told to stop."""
    emulator = await _start_comfyui(options)
    # Only now: while it starts, a signal ends it at once, as it ends ComfyUI.
    stop = stop_signal()
    emulator.died.add_done_callback(lambda _: stop.set())
    try:
        print(f"{READY_PREFIX}{emulator.url}", flush=True)
        await stop.wait()
    finally:
        await emulator.stop()
    return emulator.died.result() if emulator.died.done() else None


async def _start_comfyui(options: EngineOptions) -> ComfyUIEmulator:
    try:
        emulator = ComfyUIEmulator(
            options.base_directory,
            models_file=options.models_file,
            only_present_models=options.only_present_models,
            input_directory=options.input_directory,
            output_directory=options.output_directory,
            temporary_directory=options.temporary_directory,
            preview_method=options.preview_method,
            faults=[Fault.parse(spec) for spec in options.faults],
            accept_faults=options.accept_faults,
            own_process=True,
        )
        await emulator.start(options.host, options.port)
    except (OSError, ValueError, TypeError) as error:
        reason = f"The built-in engine cannot start at {options.host}:{options.port}: {error}"
        raise ConfigurationError([reason]) from error
    return emulator
