"""The whole service under fire: what became of every request.

People ask in a chat service; bots take that to the store; masters bring it to the local RunPod, which loses and doubles
jobs; workers commit to a bucket; bots bring the results back. Bots, masters and workers are processes that are killed,
at named points and anywhere, and started again.

Used by ``test_master_chaos.py`` with few requests, and by ``python -m benchmarks.master`` with many.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from pathlib import Path

from comfypod.master.engine import open_store
from comfypod.master.points import POINTS
from comfypod.master.states import ACTIVE
from tests.chaos.bot import KIND
from tests.chaos.counting import count
from tests.chaos.journal import Journal
from tests.chaos.plan import BOT_POINTS, WORKER_POINTS, Plan, Report
from tests.chaos.world import World, world

TICK_SECONDS = 0.05
QUIET_SECONDS = 10.0
"""How long what still runs when everything is answered may take to end."""
MOST_CRASHES = 5
"""Of more there is nothing new to learn."""
ANYWHERE, ADOPTION = "anywhere", "master_before_adoption"
KILLED = ("master", "bot", "worker")
LAST_KILL = 0.8
"""By what share of the answers the last kill is due."""
ASKED_BEFORE = 0.88
"""The share of requests that is asked before that; the others come by those points where somebody is still to die."""


async def endure(plan: Plan, folder: Path, database_url: str, bucket: Mapping[str, str]) -> Report:
    """Have everything asked, killed and answered, and count."""
    begun = time.monotonic()
    async with world(plan, folder, database_url, bucket) as found:
        await _go_through(found)
        await _become_quiet(found)
        left = await asyncio.to_thread(_left, found)
    report = count(plan, found.chat, Journal(folder), found.platform.posts)
    report.crashes, report.seconds = found.processes.crashes, time.monotonic() - begun
    report.left = left
    return report


async def _go_through(found: World) -> None:
    """Have everything asked and answered, or given up; kill meanwhile."""
    plan = found.plan
    kills = _schedule(plan)
    begun = last = time.monotonic()
    answered = 0
    while answered < plan.requests and time.monotonic() - last < plan.patience_seconds:
        if len(found.processes.crashes) > MOST_CRASHES:
            return
        found.ask(time.monotonic() - begun, int(ASKED_BEFORE * plan.requests) if kills else None)
        found.processes.keep_alive()
        if answered != found.answered:
            answered, last = found.answered, time.monotonic()
        while kills and answered >= kills[0][0]:
            _kill(found, kills.pop(0)[1])
        await asyncio.sleep(TICK_SECONDS)


def _schedule(plan: Plan) -> list[tuple[float, str]]:
    """After how many answers somebody is to die, and where: every point in its turn."""
    masters = [f"master_{point}" for point in POINTS]
    if plan.masters == 1:
        masters = [name for name in masters if name != ADOPTION]  # nobody is there to adopt
    points = [*masters, ANYWHERE, *WORKER_POINTS, *BOT_POINTS]
    turns = random.Random(plan.seed).sample(points, len(points))  # noqa: S311 (to be repeatable)
    apart = LAST_KILL * plan.requests / max(1, plan.kills)
    return [(number * apart, turns[number % len(turns)]) for number in range(plan.kills)]


def _kill(found: World, point: str) -> None:
    journal = Journal(found.place.folder)
    if point != ANYWHERE:
        found.traps.arm(point)
    elif name := found.processes.kill(random.choice(KILLED)):  # noqa: S311
        journal.note("kill", ANYWHERE, name)
    if point == ADOPTION and (name := found.processes.kill("master", found.plan.away_seconds)):
        journal.note("kill", "and_stayed_away", name)


async def _become_quiet(found: World) -> None:
    """Let what is answered already come to its end: second deliveries of jobs, what the bots have still to note."""
    end = time.monotonic() + QUIET_SECONDS + 2 * found.plan.lost_job_seconds
    while time.monotonic() < end and (found.platform.unfinished() or found.chat.open):
        found.processes.keep_alive()
        await asyncio.sleep(TICK_SECONDS)


def _left(found: World) -> list[str]:
    """What is not as it should be in the end."""
    store = open_store(found.place.database_url)
    try:
        active = {state: number for state, number in store.counts().items() if state in ACTIVE and number}
        return [
            *(f"{number} requests are {state}" for state, number in active.items()),
            *(f"{item.key} could not be told: {item.cause}" for item in store.dead_letters(KIND)),
            *([f"RunPod has {found.platform.unfinished()} jobs"] if found.platform.unfinished() else []),
        ]
    finally:
        store.close()
