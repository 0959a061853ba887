"""``comfypod web``: the page's server, and the runs behind it, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import webbrowser
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from comfypod import logs
from comfypod.cli.connection import Target, connected
from comfypod.cli.following import Check
from comfypod.cli.output import OutputOptions
from comfypod.cli.output_choice import make_output
from comfypod.cli.printing import write_error, write_line
from comfypod.cli.services import READY_PREFIX
from comfypod.cli.stopping import stop_signal
from comfypod.cloud.client import Client
from comfypod.settings import Settings
from comfypod.web.disk import default_data_folder
from comfypod.web.runs.service import Runs, RunsOptions
from comfypod.web.site.options import TOKEN_VARIABLE, SiteOptions
from comfypod.web.site.server import WebServer
from comfypod.web.site.sessions import load_key

_CHECK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class WebCommand:
    """What ``comfypod web`` is told: see its ``--help``."""

    target: Target
    site: SiteOptions
    data: Path | None
    dollars_per_second: float | None
    opens_browser: bool


def serve_web(command: WebCommand) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ConfigurationError: an option or the key makes no sense, the data folder cannot be used, or it cannot listen.
        CloudUnavailable: the local RunPod does not start.
    """
    command.site.check()
    logs.configure(Settings())
    os.environ.pop(TOKEN_VARIABLE, None)  # what is started from now on must not see it
    with connected(command.target, make_output(OutputOptions())) as (client, check):
        asyncio.run(_serve(command, client, check))


async def _serve(command: WebCommand, client: Client, check: Check) -> None:
    """Serve until told to stop, or until there is no use in it.

    Raises:
        ConfigurationError, CloudUnavailable: as `serve_web`.
    """
    stop = stop_signal()
    folder = command.data or default_data_folder()
    options = RunsOptions(
        is_local=command.target.local,
        dollars_per_second=command.dollars_per_second,
        runs_at_once=command.site.limits.runs_at_once,
    )
    async with Runs(client, folder, options) as runs:
        server = WebServer(command.site, runs, load_key(folder))
        await server.start()
        try:
            _announce(server, command)
            while not stop.is_set():
                check()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_CHECK_SECONDS):
                        await stop.wait()
        finally:
            await server.stop()


def _announce(server: WebServer, command: WebCommand) -> None:
    write_line(f"{READY_PREFIX}{server.url}")
    if command.site.token is not None:
        write_error("Everybody signs in with the token.")
    if command.opens_browser:
        # It may wait for the browser's end, where that is a program in this terminal.
        Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
