"""``comfypod emulate pods``: RunPod's pod API on this machine, until it is told to stop; then what the pods cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comfypod import logs
from comfypod.cli.emulate_runpod import check_key, name_and_value
from comfypod.cli.printing import write_error
from comfypod.cli.services import READY_PREFIX
from comfypod.cli.stopping import stop_signal
from comfypod.emulator.pods.emulator import PodsEmulator
from comfypod.emulator.pods.faults import PodFault
from comfypod.emulator.pods.host import HostOptions
from comfypod.emulator.pods.market import Stock, default_market
from comfypod.emulator.pods.switches import PodSwitches
from comfypod.errors import ConfigurationError
from comfypod.settings import Settings

NOTE = "Pods are processes of this machine; their images are ignored, and their prices are not RunPod's."
_MEMORY_GIGABYTES = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class PodsCommand:
    """What ``comfypod emulate pods`` is told: see its ``--help``."""

    host: str
    port: int
    api_key: str = field(repr=False)
    gpus: Sequence[str] = ()
    start_seconds: float = 0.5
    environment: Sequence[str] = ()
    log: Path | None = None
    switches: Sequence[str] = ()
    faults: Sequence[str] = ()


def serve_pods(command: PodsCommand) -> None:
    """Run the emulator until SIGINT or SIGTERM; then say what was spent, on stderr.

    Raises:
        ConfigurationError: an option makes no sense, or it cannot start.
    """
    logs.configure(Settings())
    check_key(command.host, command.api_key)
    try:
        options = HostOptions(
            market={stock.gpu: stock for stock in map(read_stock, command.gpus)} or default_market(),
            switches=PodSwitches.parse(command.switches),
            start_seconds=command.start_seconds,
            environment=dict(name_and_value(setting, "--env") for setting in command.environment),
            log=command.log,
        )
        emulator = PodsEmulator(command.api_key, options, [PodFault.parse(spec) for spec in command.faults])
    except ValueError as error:
        raise ConfigurationError([str(error)]) from error
    asyncio.run(_serve(emulator, command))


def read_stock(text: str) -> Stock:
    """Read ``TYPE=HOW_MANY,DOLLARS,LEAST_BID``.

    Raises:
        ValueError: it is not that.
    """
    gpu, figures = name_and_value(text, "--gpu")
    try:
        capacity, dollars, least_bid = figures.split(",")
        return Stock(gpu, _MEMORY_GIGABYTES, int(capacity), float(dollars), float(least_bid))
    except ValueError as error:
        raise ValueError(f"--gpu wants TYPE=HOW_MANY,DOLLARS,LEAST_BID, not {text!r}.") from error


async def _serve(emulator: PodsEmulator, command: PodsCommand) -> None:
    stop = stop_signal()
    try:
        await emulator.start(command.host, command.port)
    except OSError as error:
        reason = f"The emulator of pods cannot start at {command.host}:{command.port} ({error})."
        raise ConfigurationError([reason]) from error
    try:
        write_error(NOTE)
        print(f"{READY_PREFIX}{emulator.url}", flush=True)
        await stop.wait()
    finally:
        await emulator.stop()
        spend = emulator.host.overview()["spend"]
        write_error(f"Spent: {spend['billed_seconds']} s of pods, ${spend['dollars']:.5f}.")
