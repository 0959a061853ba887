"""``comfypod up``: the whole chain on this machine; each part is a command of its own, and can be run elsewhere."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from comfypod.cli.connection import Target
from comfypod.cli.local import LocalEndpoint
from comfypod.cli.local_bucket import local_bucket
from comfypod.cli.printing import write_error, write_line
from comfypod.cli.services import Service
from comfypod.cloud.configuration import KEY_VARIABLE, URL_VARIABLE, find_connection
from comfypod.errors import ConfigurationError
from comfypod.master.engine import migrate, open_store

NAME = "up"
"""Of the master: it takes up what the last one of this name left."""
TENANT = "page"
"""Whose requests the page makes."""
DISCORD_VARIABLE = "DISCORD_TOKEN"
_CHECK_SECONDS = 1.0
_BUCKET_VARIABLES = ("BUCKET_ENDPOINT_URL", "BUCKET_ACCESS_KEY_ID", "BUCKET_SECRET_ACCESS_KEY")


@dataclass(frozen=True, slots=True)
class UpCommand:
    """What ``comfypod up`` is told: see its ``--help``."""

    target: Target
    folder: Path
    database: str | None
    workers: int
    gateway_port: int
    page_port: int
    guild: int | None


class Chain:
    """The parts, in the order in which they need each other; the last one started is the first one stopped."""

    def __init__(self, command: UpCommand, stack: ExitStack) -> None:
        self._command = command
        self._stack = stack
        self._parts: list[Service] = []
        self._environment: dict[str, str] = {}

    def start(self) -> None:
        """Start all of it.

        Raises:
            ConfigurationError: something is missing, or a folder cannot be used.
            CloudUnavailable: a part does not start; its log is named.
        """
        command = self._command
        endpoint = self._local_endpoint() if command.target.local else self._endpoint()
        database = command.database or _own_database(command.folder)
        self._environment["COMFYPOD_DATABASE_URL"] = database
        for service in self._services(endpoint, database):
            write_line(f"{service.name:<13}{service.address()}")
        if not os.environ.get(DISCORD_VARIABLE):
            write_line(f"the bot      not started: {DISCORD_VARIABLE} is not set")

    def watch(self, stop: threading.Event) -> None:
        """Return when told to stop.

        Raises:
            CloudUnavailable: a part has ended by itself.
        """
        while not stop.wait(_CHECK_SECONDS):
            for part in self._parts:
                part.check()

    def _services(self, endpoint: str, database: str) -> Iterable[Service]:
        """All that knows the database, started side by side."""
        command = self._command
        workers, gateway = str(command.workers), f"http://127.0.0.1:{command.gateway_port}"
        page = ["web", "--port", str(command.page_port), "--base-url", f"{gateway}/v2", "--endpoint", "comfypod"]
        page += ["--data", str(command.folder / "page")]
        services = [
            self._service(
                "the master", ["master", "run", "--name", NAME, "--endpoint", endpoint, "--workers", workers]
            ),
            self._service("the gateway", ["gateway", "--port", str(command.gateway_port)]),
            self._service("the page", page, {KEY_VARIABLE: _new_key(database)}),
        ]
        if os.environ.get(DISCORD_VARIABLE):
            guild = ["--guild", str(command.guild)] if command.guild else []
            services.append(self._service("the bot", ["discord", "run", *guild]))
        return services

    def _local_endpoint(self) -> str:
        folder = self._command.folder
        bucket = self._stack.enter_context(local_bucket(folder / "bucket", self._log("the bucket")))
        write_line(f"the bucket   {bucket['BUCKET_ENDPOINT_URL']}")
        endpoint = LocalEndpoint(self._log("RunPod"), bucket, workers=self._command.workers)
        self._stack.callback(endpoint.stop)
        self._parts.append(endpoint)
        base_url = endpoint.base_url()
        write_line(f"RunPod       {base_url} (local; without COMFYUI_URL its built-in engine draws shapes)")
        self._environment |= {**bucket, KEY_VARIABLE: endpoint.api_key, URL_VARIABLE: base_url}
        return endpoint.endpoint_id

    def _endpoint(self) -> str:
        target = self._command.target
        missing = [name for name in _BUCKET_VARIABLES if not os.environ.get(name)]
        if missing:
            sentence = f"{', '.join(missing)}: set what the endpoint's workers have, too; or try --local."
            raise ConfigurationError([sentence])
        connection = find_connection(target.endpoint_id, target.api_key, target.base_url)
        self._environment |= {KEY_VARIABLE: connection.api_key, URL_VARIABLE: connection.base_url}
        write_line(f"RunPod       {connection.url}")
        return connection.endpoint_id

    def _service(self, name: str, arguments: Sequence[str], own: Mapping[str, str] | None = None) -> Service:
        service = Service(name, arguments, {**self._environment, **(own or {})}, self._log(name))
        self._stack.callback(service.stop)
        self._parts.append(service)
        return service

    def _log(self, name: str) -> Path:
        return self._command.folder / "logs" / f"{name.rpartition(' ')[2].lower()}.log"


def run_up(command: UpCommand) -> None:
    """Run all of it until SIGINT or SIGTERM; what was asked for meanwhile stays in ``folder``, and goes on next time.

    Raises:
        ConfigurationError, CloudUnavailable: as `Chain.start`.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        (command.folder / "logs").mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError([f"The folder {command.folder} cannot be used ({error.strerror})."]) from error
    with ExitStack() as stack:
        chain = Chain(command, stack)
        chain.start()
        write_line(f"ready http://127.0.0.1:{command.page_port}/")
        chain.watch(stop)
        write_error("Stopping; what was asked for goes on with the next start.")


def _own_database(folder: Path) -> str:
    """One in the folder, whose tables are brought up to date here; nobody else uses it."""
    database = f"sqlite:///{(folder / 'master.sqlite').absolute()}"
    migrate(database)
    return database


def _new_key(database: str) -> str:
    """A key of the page's own; those of earlier starts end."""
    with closing(open_store(database)) as store:
        for key in store.keys(TENANT):
            store.revoke(key.identifier)
        return store.add_key(TENANT)
