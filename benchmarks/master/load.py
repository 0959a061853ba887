"""Many requests and nothing that fails: what the master costs, minute by minute, and whether anything grows.

The workers have time for all of it, so that a request waits for nobody: what passes between a person's command and a
GPU, and between the commit and the answer that is seen, is the service's own time, the bot's and RunPod's included.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import sqlalchemy as sa

from benchmarks.figures import Table
from tests.chaos.journal import Journal
from tests.chaos.plan import Plan
from tests.chaos.world import World, world

MEBIBYTE = 1024 * 1024
TICK_SECONDS = 0.05
LAST_SECONDS = 60.0
COLUMNS = (
    "minute",
    "answered",
    "asked to GPU, ms (p50, p95)",
    "commit to answer, ms (p50, p95)",
    "master, CPU ms per request",
    "bot, CPU ms per request",
    "master, MiB",
    "database, MiB",
)


@dataclass(frozen=True, slots=True)
class Load:
    """``rate`` requests in a second for ``minutes``, each of which needs ``gpu_seconds``."""

    workers: int
    rate: float
    minutes: float
    gpu_seconds: float
    keep_minutes: float

    @property
    def requests(self) -> int:
        """All of them."""
        return int(60 * self.rate * self.minutes)

    @property
    def plan(self) -> Plan:
        """Without faults; some interactions are repeated."""
        return Plan(
            requests=self.requests,
            kills=0,
            workers=self.workers,
            rate=self.rate,
            gpu_seconds=self.gpu_seconds,
            lease_seconds=30.0,
            lost_job_seconds=40.0,
            share_vanished=0,
            share_undelivered=0,
            share_doubled=0,
            share_unheard=0,
            share_invalid=0,
            faults=(),
            users=50,
            keep_days=self.keep_minutes / (24 * 60),
        )


@dataclass(slots=True)
class Usage:
    """At the end of a minute; processor time is since the start."""

    master_seconds: float
    bot_seconds: float
    master_mib: float
    database_mib: float


@dataclass(slots=True)
class Minute:
    """What happened to the requests that were asked within it."""

    to_gpu: list[float] = field(default_factory=list)
    to_answer: list[float] = field(default_factory=list)


async def measure(load: Load, folder: Path, database_url: str, bucket: Mapping[str, str]) -> list[str]:
    """Run it, and return a table."""
    async with world(load.plan, folder, database_url, bucket, workers_per_process=load.workers) as found:
        size = _database_size(database_url)
        begun, usages = time.time(), [_usage(found, size)]
        await _ask_and_look(found, load, usages, size)
    rows = _rows(_minutes(found, begun), usages)
    note = f"{load.workers} workers, {load.rate:g} requests per second of {load.gpu_seconds:g} s each."
    note += f" Requests are kept for {load.keep_minutes:g} minutes after their end; 30 days is the default."
    lost = [] if not found.chat.waiting else [f"{len(found.chat.waiting)} were not answered."]
    return [*Table("The master under load", COLUMNS, rows, note).lines(), *lost, *found.processes.crashes]


async def _ask_and_look(found: World, load: Load, usages: list[Usage], size: Callable[[], int]) -> None:
    begun = time.monotonic()
    end = begun + 60 * load.minutes + LAST_SECONDS
    while time.monotonic() < end and found.answered < load.requests:
        passed = time.monotonic() - begun
        found.ask(passed)
        if passed >= 60 * len(usages):
            usages.append(_usage(found, size))
        await asyncio.sleep(TICK_SECONDS)
    usages.append(_usage(found, size))


def _usage(found: World, size: Callable[[], int]) -> Usage:
    masters, bots = (found.processes.process_ids(name) for name in ("master", "bot"))
    memory = sum(psutil.Process(pid).memory_info().rss for pid in masters)
    return Usage(_processor_seconds(masters), _processor_seconds(bots), memory / MEBIBYTE, size() / MEBIBYTE)


def _processor_seconds(pids: Iterable[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return float(sum(item.user + item.system for item in times))


def _database_size(url: str) -> Callable[[], int]:
    """A function that tells how many bytes the database has on disk."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        file = Path(parsed.database or "")
        return lambda: sum(part.stat().st_size for part in file.parent.glob(f"{file.name}*"))
    engine = sa.create_engine(parsed.set(drivername="postgresql+psycopg"))

    def ask() -> int:
        with engine.connect() as connection:
            return int(connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one())

    return ask


def _minutes(found: World, begun: float) -> list[Minute]:
    journal = Journal(found.place.folder)
    runs = {note.subject: note.moment for note in journal.notes("run")}
    commits = {note.subject: note.moment for note in journal.notes("ran")}
    minutes: list[Minute] = []
    for interaction in found.chat.interactions.values():
        index, number = int((interaction.asked - begun) / 60), str(interaction.number)
        while len(minutes) <= index:
            minutes.append(Minute())
        if interaction.answered is not None and number in commits:
            minutes[index].to_gpu.append(1000 * (runs[number] - interaction.asked))
            minutes[index].to_answer.append(1000 * (interaction.answered - commits[number]))
    return minutes


def _rows(minutes: Sequence[Minute], usages: Sequence[Usage]) -> list[list[str]]:
    return [
        [
            str(number),
            str(len(minute.to_gpu)),
            _percentiles(minute.to_gpu),
            _percentiles(minute.to_answer),
            _each(after.master_seconds - before.master_seconds, len(minute.to_gpu)),
            _each(after.bot_seconds - before.bot_seconds, len(minute.to_gpu)),
            f"{after.master_mib:.0f}",
            f"{after.database_mib:.1f}",
        ]
        for number, (minute, before, after) in enumerate(zip(minutes, usages, usages[1:], strict=False), 1)
    ]


def _percentiles(values: Sequence[float]) -> str:
    if not values:
        return "-"
    middle, high = statistics.median(values), sorted(values)[int(0.95 * (len(values) - 1))]
    return f"{middle:.0f}, {high:.0f}"


def _each(seconds: float, count: int) -> str:
    return f"{1000 * seconds / count:.1f}" if count else "-"
