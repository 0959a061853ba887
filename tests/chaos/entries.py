"""What each kind of process does from its start; it is told everything, and finds nothing out by itself."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from comfypod.cli.main import main
from comfypod.master import points
from comfypod.master.engine import open_store
from comfypod.settings import Settings
from comfypod.storage.buckets.bucket import Bucket
from comfypod.storage.commits import Commits
from tests.chaos.bot import Bot
from tests.chaos.fake_gpu import FakeGpu
from tests.chaos.plan import Plan
from tests.chaos.runpod_worker import RunPodWorker
from tests.chaos.traps import Traps

HTTP_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=5)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run takes place."""

    folder: Path
    database_url: str
    chat_url: str
    runpod: Mapping[str, str]
    bucket: Mapping[str, str]
    plan: Plan


def run_master(place: Place, name: str, arguments: tuple[str, ...]) -> None:
    """The real command, with traps at its points."""
    traps = Traps(place.folder)
    points.observe(lambda point, _: traps.reached(f"master_{point}"))
    os.environ.update({**place.runpod, **place.bucket, "LOG_LEVEL": "INFO"})
    sys.argv = ["comfypod", "master", "run", "--database", place.database_url, "--name", name, *arguments]
    main()


def run_bot(place: Place, name: str) -> None:
    """One process of the bot."""
    asyncio.run(_bot(place, name))


async def _bot(place: Place, name: str) -> None:
    store = open_store(place.database_url)
    async with aiohttp.ClientSession(timeout=HTTP_TIMEOUT) as session:
        invalid = place.plan.is_invalid
        await Bot(name, store, session, place.chat_url, Traps(place.folder), invalid).run()


def run_workers(place: Place, environments: tuple[Mapping[str, str], ...]) -> None:
    """As many workers as environments; one for each process that is to be killed, many for load."""
    asyncio.run(_workers(place, environments))


async def _workers(place: Place, environments: tuple[Mapping[str, str], ...]) -> None:
    bucket = Bucket.from_settings(Settings.from_environment(place.bucket))
    if bucket is None:
        raise RuntimeError("The workers need a bucket.")
    connector = aiohttp.TCPConnector(limit=0)  # every worker holds two requests
    async with (
        aiohttp.ClientSession(timeout=HTTP_TIMEOUT, connector=connector) as session,
        asyncio.TaskGroup() as tasks,
    ):
        for environment in environments:
            gpu = FakeGpu(environment["RUNPOD_POD_ID"], place.plan, place.folder, bucket, Commits(bucket))
            tasks.create_task(RunPodWorker(environment, session, gpu.work).run())
