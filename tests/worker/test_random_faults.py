"""Many jobs with a random fault each: every one ends, truthfully; the worker is healthy at the end and did not grow.

``COMFYPOD_FAULT_JOBS=1000 python -m pytest -s tests/worker/test_random_faults.py`` runs more, and prints what became of
them; ``COMFYPOD_FAULT_SEED`` repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from supervised import SupervisedWorker, engine_only, supervised_worker
from worker_jobs import decoded, job, save_color

JOBS = int(os.environ.get("COMFYPOD_FAULT_JOBS", "30"))
SEED = int(os.environ.get("COMFYPOD_FAULT_SEED", "1"))
LONGEST_SECONDS = 30.0
"""No job may take longer; the longest fault with all that follows takes a few."""
GROWTH = 1.1
"""Memory at the end, against after the first tenth."""

NODE = "node=ImageInvert"
MESSAGES = ("execution_start", "executing", "executed", "execution_success", "status", "any")


@dataclass(frozen=True)
class Trial:
    """A fault, and how a job that met it may end: ``success`` or a code."""

    fault: str | None
    ends: tuple[str, ...] = ("success",)
    timeout_seconds: float | None = None
    cancelled: bool = False
    killed_after_seconds: float | None = None


def trials(random_: random.Random) -> list[Callable[[], Trial]]:
    message, seconds = random_.choice(MESSAGES), random_.uniform(0, 0.3)
    path = random_.choice(["/prompt", "/ws", "/queue", "/history", "/view", "/system_stats"])
    return [
        lambda: Trial(None),
        lambda: Trial(None, killed_after_seconds=random_.uniform(0, 0.05)),
        lambda: Trial(f"exit:{NODE},code={random_.choice([1, 3, 139])}"),
        lambda: Trial(f"exit:{NODE},signal={random_.choice([9, 11, 6])}"),
        lambda: Trial("unserialisable"),
        lambda: Trial(f"hang:{NODE}", ("prompt_stalled",)),
        lambda: Trial(f"hang:{NODE}", ("deadline_exceeded",), timeout_seconds=0.4),
        lambda: Trial(f"hang:{NODE}", ("cancelled",), cancelled=True),
        lambda: Trial(f"slow:{NODE},seconds=60", ("deadline_exceeded",), timeout_seconds=0.4),
        lambda: Trial(f"slow:{NODE},seconds=60", ("cancelled",), cancelled=True),
        lambda: Trial(f"thread_death:{NODE}", ("prompt_stalled",)),
        lambda: Trial(f"hang_server:{NODE},seconds=60", ("prompt_stalled",)),
        lambda: Trial(f"hang_server:{NODE},seconds={seconds}"),
        lambda: Trial(f"raise:{NODE},message=no", ("prompt_failed",)),
        lambda: Trial(f"full_disk:{NODE}", ("prompt_failed",)),
        lambda: Trial(f"cuda_error:{NODE}", ("prompt_failed",)),
        lambda: Trial(f"out_of_memory:{NODE},form={random_.choice(['torch', 'cuda'])}"),
        lambda: Trial(f"out_of_memory:{NODE},times=2", ("out_of_memory",)),
        lambda: Trial(f"cut:message={message}"),
        lambda: Trial(f"drop:message={message}"),
        lambda: Trial(f"duplicate:message={message}"),
        lambda: Trial(f"delay:message={message},seconds={seconds}"),
        lambda: Trial("reorder:message=progress_state"),
        lambda: Trial(f"refuse:path={path}"),
        lambda: Trial(f"lost_response:path={path}"),
        lambda: Trial(f"slow_response:path={path},seconds={seconds}"),
        lambda: Trial(f"respond:path={random_.choice(['/queue', '/history'])},status={random_.choice([500, 503])}"),
        lambda: Trial("evict_history"),
        lambda: Trial(f"late_history:seconds={seconds}"),
    ]


async def run(worker: SupervisedWorker, trial: Trial, color: int) -> str:
    """How the job ended: ``success``, ``cancelled`` or its code; a picture that is wrong is no success."""
    worker.updates.clear()
    await worker.plan(*([trial.fault] if trial.fault else []))
    options = {} if trial.timeout_seconds is None else {"timeout_seconds": trial.timeout_seconds}
    pid = await worker.pid()
    task = asyncio.create_task(worker.handler(job(workflow=save_color(color), **options)))
    if trial.killed_after_seconds is not None:
        await asyncio.sleep(trial.killed_after_seconds)
        os.kill(pid, signal.SIGKILL)
    if trial.cancelled:
        await worker.until("execute", current_node="2")
        task.cancel()
    try:
        answer = await task
    except asyncio.CancelledError:
        return "cancelled"
    return _verdict(answer, color)


def _verdict(answer: dict[str, Any], color: int) -> str:
    if answer["status"] != "success":
        assert answer["error"]
        return str(answer["code"])
    shown = decoded(answer["images"][0]).convert("RGB").getpixel((5, 5))
    wanted = tuple(255 - (color >> shift & 255) for shift in (16, 8, 0))
    near = all(abs(one - other) <= 1 for one, other in zip(shown, wanted, strict=True))  # type: ignore[arg-type]
    return "success" if near else f"a wrong picture: {shown}, not {wanted}"


@engine_only
async def test_jobs_with_a_random_fault_each_end_truthfully(tmp_path: Path) -> None:
    random_ = random.Random(SEED)  # noqa: S311 (repeatable)
    me, memory, ends, wrong = psutil.Process(), [], Counter[str](), []
    settings = {"stall_timeout_seconds": "1", "interrupt_timeout_seconds": "0.4"}
    with supervised_worker(tmp_path, restarts=10_000, **settings) as worker:
        begun = time.monotonic()
        for number in range(JOBS):
            trial = random_.choice(trials(random_))()
            color = number * 4099 % 2**24
            started = time.monotonic()
            end = await asyncio.wait_for(run(worker, trial, color), LONGEST_SECONDS)
            ends[end] += 1
            if end not in trial.ends:
                wrong.append(f"job {number}: {trial} ended {end} after {time.monotonic() - started:.1f} s")
            memory.append((me.memory_info().rss, me.num_fds(), me.num_threads()))
        seconds = time.monotonic() - begun
        last = await run(worker, Trial(None), 0x7F7F7F)
    print(f"\n{JOBS} jobs, seed {SEED}: {dict(ends)}, {len(wrong)} wrong, {seconds:.0f} s")
    tenth = max(1, JOBS // 10)
    first, end_ = [
        [statistics.median(column) for column in zip(*part, strict=True)]
        for part in (memory[tenth : 2 * tenth], memory[-tenth:])
    ]
    print(
        f"memory {first[0] / 2**20:.1f} -> {end_[0] / 2**20:.1f} MiB (ratio {end_[0] / first[0]:.3f}), "
        f"file descriptors {first[1]:.0f} -> {end_[1]:.0f}, threads {first[2]:.0f} -> {end_[2]:.0f}"
    )
    assert wrong == []
    assert last == "success"
    assert end_[0] <= first[0] * GROWTH
    assert end_[1] <= first[1] + 5
    assert end_[2] <= first[2] + 3
