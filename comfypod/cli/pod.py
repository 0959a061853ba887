"""``comfypod pod``: the local RunPod with one worker that stays, as a pod runs it, and ComfyUI's page beside it."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from comfypod import logs
from comfypod.cli.emulate_runpod import DEFAULT_KEY
from comfypod.cli.exit_codes import ExitCode
from comfypod.cli.printing import write_error
from comfypod.cli.services import READY_PREFIX
from comfypod.cli.stopping import stop_signal
from comfypod.cli.worker_script import worker_script
from comfypod.emulator.fleet.options import INIT_TIMEOUT_VARIABLE, FleetOptions
from comfypod.emulator.platform.options import PlatformOptions
from comfypod.emulator.runpod import RunPodEmulator
from comfypod.errors import ConfigurationError, GPUUnavailable
from comfypod.logs import event
from comfypod.orphans import reap_orphans_as_first_process
from comfypod.pod.page import ComfyUIPage
from comfypod.pod.sign_in import SignIn
from comfypod.pod.surroundings import comfyui_address, outside_host, state_file, take_key
from comfypod.pod.worker_output import WorkerOutput
from comfypod.settings import Settings
from comfypod.worker.boot import STARTED_VARIABLE

ENDPOINT_ID = "local"
MOST_FAILURES = 3
"""After so many starts of the worker in a row that failed, the pod ends."""
FINAL_CODES = frozenset({ConfigurationError.code, GPUUnavailable.code})
"""What failed for one of these fails again: once is enough."""
SHARED_VARIABLE = "COMFYUI_SHARED"
"""Tells the worker that somebody else uses its ComfyUI, too."""
# The worker ends itself where ComfyUI or a model does not come in time. RunPod's 7 min are for serverless workers.
_START_SECONDS = 3600.0
_TICK_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class PodCommand:
    """What ``comfypod pod`` is told: see its ``--help``."""

    host: str
    port: int
    state: str | None
    comfyui_page: bool
    page_port: int


def serve_pod(command: PodCommand) -> None:
    """Serve until SIGINT or SIGTERM. A worker that cannot be started ends the pod: exit code 1, the reason last.

    Raises:
        ConfigurationError: an option, a setting or the key makes no sense, or it cannot listen.
    """
    logs.configure(Settings.from_environment(os.environ))
    # Before anything is started, which would inherit them.
    os.environ.pop(STARTED_VARIABLE, None)  # each worker has a start of its own
    key = take_key(os.environ, command.host, has_page=command.comfyui_page) or DEFAULT_KEY
    output = WorkerOutput()
    try:
        reason = asyncio.run(Pod(command, key, output).serve())
    finally:
        output.close()
    if reason is not None:
        write_error(reason)
        sys.exit(ExitCode.FAILURE)


class Pod:
    """RunPod's API, the one worker behind it, and ComfyUI's page.

    Raises:
        ConfigurationError: the key cannot stand in a header, there is no worker, or no place for the state.
    """

    def __init__(self, command: PodCommand, key: str, output: WorkerOutput) -> None:
        self._command = command
        self._output = output
        self._page: ComfyUIPage | None = None
        variables = {INIT_TIMEOUT_VARIABLE: os.environ.get(INIT_TIMEOUT_VARIABLE) or str(_START_SECONDS)}
        if command.comfyui_page:
            url, for_worker = comfyui_address(os.environ)
            variables |= {**for_worker, SHARED_VARIABLE: "true"}
            sign_in = SignIn(key, f"comfypod_page_{command.page_port}")  # cookies tell hosts apart, and not ports
            outside = outside_host(os.environ, command.page_port)
            self._page = ComfyUIPage(url, sign_in, [outside] if outside else [])
        platform = PlatformOptions(state_file=state_file(command.state, os.environ))
        self._emulator = _emulator(key, platform, variables, output)

    async def serve(self) -> str | None:
        """Return when it was told to stop, or with the reason why there is no worker.

        Raises:
            ConfigurationError: it cannot listen, or its state cannot be used.
        """
        stop = stop_signal()
        try:
            await self._start()
            self._announce()
            return await self._until_over(stop)
        finally:
            async with asyncio.TaskGroup() as stopping:
                stopping.create_task(self._emulator.stop())
                if self._page is not None:
                    stopping.create_task(self._page.stop())

    async def _start(self) -> None:
        host, port = self._command.host, self._command.port
        try:
            if self._page is not None:
                port = self._command.page_port
                await self._page.start(host, port)
            port = self._command.port
            await self._emulator.start(host, port)
        except (OSError, ValueError) as error:
            raise ConfigurationError([f"The pod cannot start at {host}:{port} ({error})."]) from error

    def _announce(self) -> None:
        """Say on stdout where the API is, for programs; and on stderr what it is, for people."""
        print(f"{READY_PREFIX}{self._emulator.base_url}", flush=True)
        write_error(
            "This is RunPod's API as comfypod itself implements it, in front of this pod's worker; not RunPod's."
        )
        write_error(f"Endpoint {ENDPOINT_ID} at {self._emulator.base_url}{_outside(self._command.port, '/v2')}")
        if self._page is not None:
            url = f"port {self._page.port} of {self._command.host}{_outside(self._command.page_port, '/')}"
            write_error(f"ComfyUI's page at {url}; any user name, the API key as password")

    async def _until_over(self, stop: asyncio.Event) -> str | None:
        stopped, failed = asyncio.create_task(stop.wait()), asyncio.create_task(self._watch_worker())
        reap_orphans_as_first_process()
        try:
            await asyncio.wait([stopped, failed], return_when=asyncio.FIRST_COMPLETED)
            return None if stop.is_set() else failed.result()
        finally:
            for task in (stopped, failed):
                task.cancel()

    async def _watch_worker(self) -> str:
        """Return when there is no use in starting the worker once more: its last words."""
        fleet = self._emulator.fleet
        while True:
            failures = fleet.failed_starts if fleet is not None else 0
            await asyncio.sleep(_TICK_SECONDS)  # in which what it printed last arrives
            if failures >= MOST_FAILURES or (failures and self._output.last_code in FINAL_CODES):
                event("pod_gives_up", logging.ERROR, failed_starts=failures)
                return self._output.last_words or "The worker ended without a word."


def _emulator(
    key: str, platform: PlatformOptions, variables: Mapping[str, str], output: WorkerOutput
) -> RunPodEmulator:
    try:
        fleet = FleetOptions(
            command=[sys.executable, "-u", str(worker_script())],
            min_workers=1,
            max_workers=1,
            price_per_second=0.0,  # a pod is paid by the hour, whatever its worker does
            log=output.path,
            environment=variables,
        )
        # Not made from the key of the clients: whatever runs in the worker's ComfyUI sees it.
        worker_key = secrets.token_urlsafe(24)
        return RunPodEmulator(ENDPOINT_ID, key, platform=platform, fleet=fleet, worker_key=worker_key)
    except ValueError as error:
        raise ConfigurationError([str(error)]) from error


def _outside(port: int, path: str) -> str:
    """The address beside the one in here, where RunPod's proxy leads to it."""
    host = outside_host(os.environ, port)
    return f", from outside https://{host}{path} if the pod exposes the port" if host else ""
