"""Many jobs in a row: does anything grow, and is each answer the right one?"""

from __future__ import annotations

import base64
import io
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests
from PIL import Image

from benchmarks.figures import Report, Table
from benchmarks.measures.idle import warm_up
from benchmarks.rig.contenders import Contender
from benchmarks.rig.site import ContenderFailed, Rig, Site, Work, site
from comfypod.comfyui.command_line import named_port

JOBS = 5_000
QUICK_JOBS = 100
UNDER_WAY = 8
TIMEOUT_SECONDS = 60.0
PARTS = 5


@dataclass
class Growth:
    """What was counted while jobs ran: memory after each job, the rest after each fifth of them."""

    memory_mib: list[float] = field(default_factory=list)
    counts: list[dict[str, int]] = field(default_factory=list)
    wrong: int = 0


def measure(contenders: Sequence[Contender], rig: Rig, *, jobs: int) -> Report:
    """One contender after the other."""
    raw: dict[str, Any] = {}
    tables = []
    for contender in contenders:
        try:
            with site(contender, rig) as one:
                growth = _run_jobs(one, jobs)
        except ContenderFailed as error:
            tables.append(Table(f"{jobs:,} jobs in a row: {contender.name}", ["", ""], [["FAILED", str(error)]]))
            continue
        raw[contender.name] = {"memory_mib": growth.memory_mib, "counts": growth.counts, "wrong": growth.wrong}
        tables.append(_table(contender.name, jobs, growth))
    return Report(tables, raw)


def _run_jobs(one: Site, jobs: int) -> Growth:
    """A few at a time, so that the next one always waits; each answer's picture must be its own."""
    failed: dict[str, str] = {}
    warm_up(one, failed)
    if failed:
        raise ContenderFailed(failed[one.name])
    growth, processes = Growth(), one.processes()
    under_way: deque[str] = deque()
    for number in range(jobs + UNDER_WAY):
        if number < jobs:
            under_way += one.submit(Work())
        if number < UNDER_WAY:
            continue
        job_id = under_way.popleft()
        one.wait(job_id, TIMEOUT_SECONDS)
        growth.wrong += not is_right(one.answer(job_id), one.number_of(job_id))
        growth.memory_mib.append(processes.resident_mib())
        if len(growth.memory_mib) % max(1, jobs // PARTS) == 0:
            growth.counts.append({**processes.counts(), **_left_behind(one)})
    return growth


def is_right(answer: Mapping[str, Any], number: int) -> bool:
    """Whether the answer's first picture is the one of this number: its first pixel says so."""
    try:
        image = answer["output"]["images"][0]
        data = image if isinstance(image, str) else image["data"]
        with Image.open(io.BytesIO(base64.b64decode(data.partition("base64,")[2] or data))) as picture:
            pixel = picture.convert("RGB").getpixel((0, 0))
    except (KeyError, IndexError, TypeError, ValueError, OSError):
        return False
    return pixel == (number >> 16 & 0xFF, number >> 8 & 0xFF, number & 0xFF)


def _left_behind(one: Site) -> dict[str, int]:
    """In ComfyUI: files in its folders, and entries of its history."""
    folder = one.comfyui.folder
    port = named_port(one.comfyui.journal.process()["arguments"])
    history = requests.get(f"http://127.0.0.1:{port}/history", timeout=TIMEOUT_SECONDS).json()
    names = ("input", "output", "temp")
    files = sum(1 for name in names for path in (folder / name).rglob("*") if path.is_file())
    return {"files in ComfyUI's folders": files, "entries of its history": len(history)}


def window_medians(values: Sequence[float]) -> tuple[float, float]:
    """Of the second fifth and of the last: of 5,000 jobs the second and the last thousand."""
    part = max(1, len(values) // PARTS)
    return statistics.median(values[part : 2 * part] or values), statistics.median(values[-part:])


def _table(name: str, jobs: int, growth: Growth) -> Table:
    early, late = window_medians(growth.memory_mib)
    rows = [
        ["memory (resident, main process)", f"{early:.1f} MiB", f"{late:.1f} MiB", f"x {late / early:.4f}"],
        ["wrong answers", "", str(growth.wrong), ""],
    ]
    first, last = growth.counts[0], growth.counts[-1]
    rows += [[what, str(first[what]), str(last[what]), f"{last[what] - first[what]:+d}"] for what in last]
    note = (
        "Memory: medians of the second and of the last fifth of the jobs. All else: after the first fifth, at the end."
    )
    return Table(f"{jobs:,} jobs in a row: {name}", ["", "early", "late", "change"], rows, note)
