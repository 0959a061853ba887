"""One job at a time: what it costs beyond ComfyUI's own execution, and where our worker's part of it goes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.figures import Report, Samples, Table, overhead_ms, split_ms, table_of
from benchmarks.measures.idle import warm_up
from benchmarks.rig.contenders import Contender
from benchmarks.rig.site import ContenderFailed, Rig, Site, Work, sites
from benchmarks.rig.stores import Store

COLLECTION_SECONDS = 10.5
"""ComfyUI collects garbage after a prompt if it has not for ten seconds (main.py, ``gc_collect_interval``)."""
COLLECTING_SECONDS = 1.0
TIMEOUT_SECONDS = 120.0
LOOK_SECONDS = 0.1
"""The SDK looks for jobs to start so often, from the end of the one before (runpod-python 1.12.0, ``run_jobs``)."""


Splits = dict[tuple[str, str], list[dict[str, float]]]
"""By case and contender: of each job, the milliseconds of its parts."""


@dataclass(frozen=True)
class Case:
    """A job, and how often it is repeated in each round.

    The pauses before the repetitions are spread evenly over the time between two of the SDK's looks for jobs. Without
    them the length of the job before decides where the next one falls, and one worker meets early looks, another late.
    """

    name: str
    work: Work
    repeats: int = 1
    real_only: bool = False


INLINE = (
    Case("64 x 64, inline", Work(), 12),
    Case("64 x 64, inline, garbage collection due", Work(seconds=COLLECTION_SECONDS), 3, real_only=True),
    Case("1024 x 1024 (1.9 MB), inline", Work(size=1024, noise_percent=60), 3),
    Case("4 x 2048 x 2048 (30 MB), inline", Work(size=2048, count=4, noise_percent=60), 3),
)
BUCKET = (
    Case("1024 x 1024 (1.9 MB), S3", Work(size=1024, noise_percent=60), 3),
    Case("4 x 2048 x 2048 (30 MB), S3", Work(size=2048, count=4, noise_percent=60), 3),
    Case("16 x 2048 x 2048 (200 MB), S3", Work(size=2048, count=16)),
)
QUICK = ("64 x 64, inline", "1024 x 1024 (1.9 MB), S3")
NOTE = (
    "From the moment at which the local RunPod has handed the job out to the last byte of its result there (S3: of the "
    "answer, which comes after the uploads), without what ComfyUI executed meanwhile. One job at a time, no latency; "
    "median, range, and the ratio to the floor's median. S3 is a store on this machine. The pauses between jobs are "
    "spread evenly over the 0.1 s between two of the SDK's looks for jobs: every worker meets early and late ones."
)
SPLIT_NOTE = (
    "Medians in ms. take and answer: what the worker cannot see, by the clocks of the platform and of ComfyUI; "
    "execute: by ComfyUI's; the others as the worker tells them in its timings, in whole milliseconds."
)


def measure(contenders: Sequence[Contender], rig: Rig, rounds: int, *, store: Store, quick: bool) -> Report:
    """Every case, all contenders in turn, ``rounds`` times: first inline, then, with other workers, to S3."""
    samples = Samples("ms", digits=1)
    splits: Splits = {}
    for cases, place in ((INLINE, None), (BUCKET, store)):
        wanted = [case for case in cases if not (quick and case.name not in QUICK)]
        if rig.comfyui_command is None:
            wanted = [case for case in wanted if not case.real_only]
        _measure_cases(contenders, rig.with_store(place), wanted, rounds=rounds, samples=samples, splits=splits)
    names = [item.name for item in contenders]
    tables = [table_of("Overhead of one job", samples, names, NOTE)]
    tables += [_split_table(name, splits) for name in names if any(one == name for _, one in splits)]
    raw = {**samples.to_json(), "split": {f"{case} | {name}": values for (case, name), values in splits.items()}}
    return Report(tables, raw)


def _measure_cases(
    contenders: Sequence[Contender], rig: Rig, cases: Sequence[Case], *, rounds: int, samples: Samples, splits: Splits
) -> None:
    """These cases with one set of workers."""
    failed: dict[str, str] = {}
    with sites(contenders, rig, failed) as started:
        for one in started:
            warm_up(one, failed)
        for _ in range(rounds):
            for case in cases:
                for one in started:
                    if rig.comfyui_command is not None:
                        _collect_garbage(one)
                    for index in range(case.repeats):
                        time.sleep(LOOK_SECONDS * (index + 0.5) / case.repeats)
                        _measure_one(one, case, samples, splits)
    for name, reason in failed.items():
        samples.fail("any", name, reason)


def _collect_garbage(one: Site) -> None:
    """Let a real ComfyUI do what is due, so that it meets only the case that is about it."""
    with suppress(ContenderFailed):  # the case itself will tell
        one.run(Work())
    time.sleep(COLLECTING_SECONDS)


def _measure_one(one: Site, case: Case, samples: Samples, splits: Splits) -> None:
    one.remove_outputs()
    try:
        job = one.run(case.work, TIMEOUT_SECONDS + case.work.seconds)
        executed = one.executed(job)
    except ContenderFailed as error:
        samples.fail(case.name, one.name, str(error))
        return
    samples.add(case.name, one.name, overhead_ms(job.taken, job.arrived, executed))
    if job.timings:
        found = split_ms(job.taken, job.arrived, executed[-1], job.timings)
        splits.setdefault((case.name, one.name), []).append(found)


def _split_table(name: str, splits: Splits) -> Table:
    rows, columns = [], dict[str, None]()
    for (_, one), found in splits.items():
        if one == name:
            columns |= dict.fromkeys(found[0])
    for (case, one), found in splits.items():
        if one == name:
            medians = {part: statistics.median(item.get(part, 0.0) for item in found) for part in columns}
            rows.append([case, *(f"{medians[part]:,.1f}" for part in columns)])
    return Table(f"Where the time of one job goes: {name}", ["", *columns], rows, SPLIT_NOTE)
