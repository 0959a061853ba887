"""A queue of jobs: which part of the time ComfyUI executes nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.figures import Report, Samples, idle_percent, table_of
from benchmarks.rig.contenders import Contender
from benchmarks.rig.site import ContenderFailed, Rig, Site, Work, sites

LEAST_SECONDS = 60.0
LONGEST_JOB_SECONDS = 3.0
"""Beyond its own time."""


@dataclass(frozen=True)
class Queue:
    """So many jobs of so many seconds, all submitted before the first is taken."""

    jobs: int
    seconds: float

    @property
    def timeout_seconds(self) -> float:
        return LEAST_SECONDS + self.jobs * (self.seconds + LONGEST_JOB_SECONDS)


QUEUES = (Queue(40, 0.3), Queue(10, 2.3))
LATENCIES_MS = (0, 30, 100)
QUICK_QUEUES = (Queue(3, 0.3),)
QUICK_LATENCIES_MS = (30,)
NOTE = (
    "From the first prompt's begin to the last one's end, by ComfyUI's own process; median and range. Latency is the "
    "round trip to the platform, half of it in each direction; a new connection costs one more. Pictures of 64 x 64, "
    "inline."
)


def measure(
    contenders: Sequence[Contender], rig: Rig, rounds: int, *, latencies_ms: Sequence[int], quick: bool
) -> Report:
    """Every queue at every latency, all contenders in turn, ``rounds`` times."""
    samples, failed = Samples("%", digits=1), dict[str, str]()
    queues, latencies = (QUICK_QUEUES, QUICK_LATENCIES_MS) if quick else (QUEUES, latencies_ms)
    with sites(contenders, rig, failed) as started:
        for one in started:
            warm_up(one, failed)
        for _ in range(rounds):
            for queue in queues:
                for latency_ms in latencies:
                    for one in started:
                        _measure_one(one, queue, latency_ms, samples, failed)
    for name, reason in failed.items():
        samples.fail("any", name, reason)
    table = table_of("Idle share of ComfyUI in a queue", samples, [item.name for item in contenders], NOTE)
    return Report([table], samples.to_json())


def warm_up(one: Site, failed: dict[str, str]) -> None:
    """Everything that happens once only; in a real ComfyUI its first garbage collection, too."""
    try:
        one.run(Work())
    except ContenderFailed as error:
        failed[one.name] = str(error)


def _measure_one(one: Site, queue: Queue, latency_ms: float, samples: Samples, failed: dict[str, str]) -> None:
    """One value. Who has failed once is left out from then on: its jobs may still run."""
    if one.name in failed:
        return
    case = f"{queue.jobs} jobs of {queue.seconds:g} s, {latency_ms:g} ms"
    try:
        samples.add(case, one.name, _idle_percent(one, queue, latency_ms / 1000))
    except ContenderFailed as error:
        failed[one.name] = f"in {case}: {error}"


def _idle_percent(one: Site, queue: Queue, latency_seconds: float) -> float:
    one.remove_outputs()
    one.set_latency(latency_seconds)
    begun = time.monotonic()
    job_ids = one.submit(Work(seconds=queue.seconds), queue.jobs)
    for job_id in job_ids:
        one.wait(job_id, begun + queue.timeout_seconds - time.monotonic())
    executed = one.executions(begun)
    if len(executed) < queue.jobs:
        raise ContenderFailed(f"ComfyUI executed {len(executed)} prompts for {queue.jobs} jobs")
    return idle_percent(executed)
