"""``comfypod emulate runpod``: the local RunPod with its workers, until it is told to stop; then what they cost."""

from __future__ import annotations

import asyncio
import math
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from comfypod import logs
from comfypod.cli.printing import write_error
from comfypod.cli.services import READY_PREFIX
from comfypod.cli.stopping import stop_signal
from comfypod.cli.worker_script import WORKER_SCRIPT
from comfypod.emulator.fleet.options import FleetOptions, Scaler
from comfypod.emulator.platform.faults import PlatformFault
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.platform.rates import RateLimits
from comfypod.emulator.platform.requests import Limits
from comfypod.emulator.platform.switches import Switches
from comfypod.emulator.runpod import RunPodEmulator
from comfypod.errors import ConfigurationError
from comfypod.listening import is_loopback
from comfypod.settings import Settings

DEFAULT_KEY = "local"
_DEFAULT_MAX_WORKERS = 3
# Workers send a heartbeat every second at most, which these limits must leave time for.
_HEARTBEAT_LIMITS = frozenset({"lost_job_seconds", "silent_worker_seconds"})
_SHORTEST_SILENCE_SECONDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPodCommand:
    """What ``comfypod emulate runpod`` is told: see its ``--help``. None: not given."""

    host: str
    port: int
    endpoint_id: str
    api_key: str = field(repr=False)
    workers: int | None = None
    min_workers: int | None = None
    max_workers: int | None = None
    idle_seconds: float = 5.0
    scaler: str = Scaler.QUEUE_DELAY.value
    scaler_value: float = 4.0
    flash_boot: bool = False
    cost: float
    bill_initializing: bool = True
    worker_command: str | None = None
    environment: Sequence[str] = ()
    log: Path | None = None
    switches: Sequence[str] = ()
    faults: Sequence[str] = ()
    accept_faults: bool = False
    limits: Sequence[str] = ()
    rate_limits: bool = True
    state_file: Path | None = None


def serve_runpod(command: RunPodCommand) -> None:
    """Run a local RunPod and its workers until SIGINT or SIGTERM; then say what was spent, on stderr.

    Raises:
        ConfigurationError: an option makes no sense, or it cannot start.
    """
    logs.configure(Settings())
    check_key(command.host, command.api_key)
    try:
        emulator = RunPodEmulator(
            command.endpoint_id, command.api_key, platform=platform_options(command), fleet=fleet_options(command)
        )
    except (ValueError, TypeError) as error:
        raise ConfigurationError([str(error)]) from error
    asyncio.run(_serve(emulator, command))


async def _serve(emulator: RunPodEmulator, command: RunPodCommand) -> None:
    stop = stop_signal()
    try:
        await emulator.start(command.host, command.port)
    except (OSError, ValueError) as error:
        reason = f"The local RunPod cannot start at {command.host}:{command.port} ({error})."
        raise ConfigurationError([reason]) from error
    try:
        print(f"{READY_PREFIX}{emulator.base_url}", flush=True)
        await stop.wait()
    finally:
        await emulator.stop()
        write_error(summary(emulator))


def summary(emulator: RunPodEmulator) -> str:
    """What the endpoint did and what it cost, in one line."""
    overview = emulator.overview()
    jobs, spend = overview["jobs"], overview["spend"]
    return (
        f"Spent: {spend['billed_seconds']} s of workers, ${spend['dollars']:.5f}; jobs: {jobs['completed']} completed, "
        f"{jobs['failed']} failed, {jobs['cancelled']} cancelled, {jobs['inProgress'] + jobs['inQueue']} not done."
    )


def check_key(host: str, api_key: str) -> None:
    """Whoever reaches it runs programs here: the key that everybody knows is for this machine only.

    Raises:
        ConfigurationError: it could be reached from elsewhere with that key.
    """
    if api_key == DEFAULT_KEY and not is_loopback(host):
        problem = f"Listening at {host}, it can be reached from other machines: choose a key with --api-key."
        raise ConfigurationError([problem])


def platform_options(command: RunPodCommand) -> PlatformOptions:
    """The endpoint that the options ask for.

    Raises:
        ValueError: there is no such limit, switch or fault, or not with that value.
    """
    return PlatformOptions(
        limits=read_limits(command.limits),
        switches=Switches.parse(command.switches),
        rate_limits=RateLimits() if command.rate_limits else None,
        faults=[PlatformFault.parse(spec) for spec in command.faults],
        accept_faults=command.accept_faults,
        state_file=command.state_file,
    )


def fleet_options(command: RunPodCommand) -> FleetOptions | None:
    """The fleet, or None where no worker is ever to be started.

    Raises:
        ConfigurationError: the numbers contradict each other, or there is no worker to start.
        ValueError: an option is outside its range.
    """
    minimum, maximum = _worker_counts(command)
    if maximum == 0:
        return None
    return FleetOptions(
        command=_worker_command(command.worker_command),
        min_workers=minimum,
        max_workers=maximum,
        idle_seconds=command.idle_seconds,
        scaler=Scaler(command.scaler),
        scaler_value=command.scaler_value,
        flash_boot=command.flash_boot,
        price_per_second=command.cost,
        bill_initializing=command.bill_initializing,
        log=command.log,
        environment=dict(name_and_value(setting, "--env") for setting in command.environment),
    )


def _worker_counts(command: RunPodCommand) -> tuple[int, int]:
    """The fewest and the most workers; without a word on it, one that stays."""
    minimum, maximum = command.min_workers, command.max_workers
    if command.workers is not None:
        if minimum is not None or maximum is not None:
            raise ConfigurationError(["--workers N means --min-workers N --max-workers N; give it or those."])
        return command.workers, command.workers
    if minimum is None and maximum is None:
        return 1, 1
    minimum = minimum or 0
    return minimum, max(_DEFAULT_MAX_WORKERS, minimum) if maximum is None else maximum


def _worker_command(given: str | None) -> list[str]:
    if given is not None:
        try:
            return shlex.split(given)
        except ValueError as error:
            raise ConfigurationError([f"--worker-command {given!r} cannot be read as in a shell: {error}."]) from error
    if not WORKER_SCRIPT.is_file():
        raise ConfigurationError([f"There is no {WORKER_SCRIPT} here; go to the repository, or use --worker-command."])
    return [sys.executable, "-u", str(WORKER_SCRIPT)]


def read_limits(settings: Iterable[str]) -> Limits:
    """Read ``NAME=VALUE`` settings, each a field of `Limits`.

    Raises:
        ValueError: there is no such limit, or the value is no number for it.
    """
    kinds = {entry.name: entry.type for entry in fields(Limits)}
    values: dict[str, int | float] = {}
    for setting in settings:
        name, value = name_and_value(setting, "--limit")
        if name not in kinds:
            raise ValueError(f'There is no limit "{name}"; there are {", ".join(kinds)}.')
        values[name] = _number(name, value, is_whole=kinds[name] in {"int", int})
    return Limits(**values)  # type: ignore[arg-type]


def _number(name: str, text: str, *, is_whole: bool) -> int | float:
    try:
        number = int(text) if is_whole else float(text)
    except ValueError:
        number = -1
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f'The limit "{name}" must be a {"whole number" if is_whole else "number"} of 0 or more.')
    if name in _HEARTBEAT_LIMITS and number < _SHORTEST_SILENCE_SECONDS:
        raise ValueError(
            f'The limit "{name}" must be a number of at least {_SHORTEST_SILENCE_SECONDS}: workers give a sign of life '
            "every second at most."
        )
    return number


def name_and_value(setting: str, option: str) -> tuple[str, str]:
    """Read ``NAME=VALUE``.

    Raises:
        ValueError: it is not that.
    """
    name, equals, value = setting.partition("=")
    if not (name and equals):
        raise ValueError(f'{option} wants NAME=VALUE, not "{setting}".')
    return name, value
