"""``comfypod master run``: the process that has requests done, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from comfypod import logs
from comfypod.cli.printing import write_line
from comfypod.cli.services import READY_PREFIX
from comfypod.cli.stopping import stop_signal
from comfypod.cloud.client import Client
from comfypod.errors import ConfigurationError
from comfypod.master.adoption import Rhythm
from comfypod.master.endpoints import MasterEndpoint
from comfypod.master.engine import migrate
from comfypod.master.service import Master, MasterOptions
from comfypod.settings import Settings
from comfypod.storage.buckets.bucket import Bucket
from comfypod.storage.commits import Commits

DAY_SECONDS = 24 * 3600.0
_PROBE = "0" * 32
"""A key that no request has."""


@dataclass(frozen=True, slots=True)
class MasterCommand:
    """What ``comfypod master run`` is told: see its ``--help``."""

    database: str
    endpoints: Sequence[str]
    base_url: str | None
    api_key: str | None = field(repr=False)
    workers: int
    name: str | None
    webhook_base: str | None
    keep_days: float


def run_master(command: MasterCommand) -> None:
    """Work until SIGINT or SIGTERM, which hands everything over, or until it was drained.

    Raises:
        ConfigurationError: an option, the key or the bucket is missing or makes no sense.
        StoreOutdated: the database must be migrated.
        StoreUnavailable: it does not answer.
        CommitsUnavailable: the bucket does not answer, or cannot be read.
    """
    settings = Settings.from_environment(os.environ)
    logs.configure(settings)
    commits = _commits(settings)
    with endpoints_of(command) as endpoints:
        if is_new_file(command.database):
            migrate(command.database)
        asyncio.run(_serve(command, endpoints, commits))


async def _serve(command: MasterCommand, endpoints: Sequence[MasterEndpoint], commits: Commits) -> None:
    stop = stop_signal()
    await commits.result(_PROBE)  # a master without its bucket could believe nothing
    name = command.name or default_name()
    rhythm = Rhythm.keeping(command.keep_days * DAY_SECONDS)
    options = MasterOptions(command.database, name, command.workers, command.webhook_base, rhythm=rhythm)
    master = Master(options, endpoints, commits)
    await master.start()
    write_line(f"{READY_PREFIX}{name}")
    await master.run(stop)


@contextmanager
def endpoints_of(command: MasterCommand) -> Iterator[list[MasterEndpoint]]:
    """The endpoints, the preferred one first, for as long as the body runs.

    Each is an id, or the address of one (``https://…/v2/ID``), where several services are used at once.

    Raises:
        ConfigurationError: there is none, or no key.
    """
    if not command.endpoints:
        raise ConfigurationError(["Say where requests go: --endpoint ID, or RUNPOD_ENDPOINT_ID."])
    if len(set(command.endpoints)) < len(command.endpoints):
        raise ConfigurationError(["An --endpoint is named twice."])
    with ExitStack() as stack:
        found = []
        for text in command.endpoints:
            base_url, _, endpoint_id = text.rstrip("/").rpartition("/")
            client = Client(endpoint_id, command.api_key, base_url or command.base_url)
            found.append(MasterEndpoint(text, stack.enter_context(client)))
        yield found


def _commits(settings: Settings) -> Commits:
    bucket = Bucket.from_settings(settings)
    if bucket is None:
        sentence = (
            "The master needs the bucket that its workers commit results to: set BUCKET_ENDPOINT_URL, "
            "BUCKET_ACCESS_KEY_ID and BUCKET_SECRET_ACCESS_KEY to what the endpoint has."
        )
        raise ConfigurationError([sentence])
    return Commits(bucket)


def is_new_file(database: str) -> bool:
    """Whether this is a SQLite file that is not there yet: it may be made without asking, for nothing is lost."""
    try:
        url = sa.make_url(database)
    except sa.exc.ArgumentError:
        return False  # the store says what is wrong with it
    return url.get_backend_name() == "sqlite" and bool(url.database) and not Path(str(url.database)).exists()


def default_name() -> str:
    """The machine's name: one master on each, of the same name after a restart."""
    return socket.gethostname() or "master"
