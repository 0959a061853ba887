"""Everything that a run consists of: chat, RunPod, and the processes between them, all on 127.0.0.1.

The two services that are not ours run in the conductor's own process, and are never killed; nor is the bucket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from comfypod.master.engine import migrate
from tests.chaos.chat import Chat
from tests.chaos.entries import Place, run_bot, run_master, run_workers
from tests.chaos.plan import Plan
from tests.chaos.platform import ENDPOINT, KEY, Platform
from tests.chaos.processes import Processes
from tests.chaos.traps import Traps


@dataclass(frozen=True, slots=True)
class World:
    """Everything that a run consists of."""

    plan: Plan
    place: Place
    chat: Chat
    platform: Platform
    processes: Processes
    traps: Traps

    @property
    def answered(self) -> int:
        """How many people have their answer."""
        return len(self.chat.interactions) - len(self.chat.waiting)

    def ask(self, seconds: float, at_most: int | None = None) -> None:
        """Have everything asked that is due so many seconds after the beginning, of the first ``at_most`` requests."""
        most = self.plan.requests if at_most is None else at_most
        due = min(most, int(seconds * self.plan.rate) + 1)
        for number in range(len(self.chat.interactions), due):
            self.chat.ask(number, f"user-{number % self.plan.users}")


@asynccontextmanager
async def world(
    plan: Plan, folder: Path, database_url: str, bucket: Mapping[str, str], workers_per_process: int = 1
) -> AsyncIterator[World]:
    """The services and the processes, all of them started."""
    chat = Chat(
        share_repeated=plan.share_repeated,
        share_unheard=plan.share_unheard,
        keeps_nonces=plan.keeps_nonces,
        seed=plan.seed,
    )
    platform, processes = Platform(plan), Processes(folder, plan.seed)
    await chat.start()
    try:
        async with platform.emulator as emulator:
            runpod = {"RUNPOD_API_KEY": KEY, "RUNPOD_ENDPOINT_BASE_URL": emulator.base_url}
            place = Place(folder, database_url, chat.url, runpod, bucket, plan)
            await asyncio.to_thread(migrate, database_url)
            try:
                _start(processes, place, emulator.worker_environment, workers_per_process)
                yield World(plan, place, chat, platform, processes, Traps(folder))
            finally:
                await asyncio.to_thread(processes.stop)
    finally:
        await chat.stop()


def _start(
    processes: Processes, place: Place, environment: Callable[[str], Mapping[str, str]], workers_per_process: int
) -> None:
    plan = place.plan
    for number in range(plan.masters):
        arguments = ("--endpoint", ENDPOINT, "--workers", str(plan.workers), "--keep-days", str(plan.keep_days))
        processes.add(f"master-{number}", run_master, place, f"master-{number}", arguments)
    for number in range(plan.bots):
        processes.add(f"bot-{number}", run_bot, place, f"bot-{number}")
    names = [f"worker-{number}" for number in range(plan.workers)]
    for first in range(0, len(names), workers_per_process):
        environments = tuple(environment(name) for name in names[first : first + workers_per_process])
        processes.add(names[first], run_workers, place, environments)
