"""What ``comfypod top`` shows: one picture of an endpoint, made from what it says of itself. No I/O.

Nothing in it is trusted: ids and messages may come from whoever sends jobs, so control characters and markup are not
passed on, and what is missing or of another kind is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from comfypod.cli.printing import printable
from comfypod.schema.wire import as_list, as_object

_WORKER_STYLES = {
    "running": "green",
    "idle": "cyan",
    "initializing": "yellow",
    "throttled": "yellow",
    "unhealthy": "bold red",
    "frozen": "blue",
    "ending": "dim",
}
_JOB_STYLES = {
    "IN_PROGRESS": "green",
    "IN_QUEUE": "yellow",
    "COMPLETED": "dim",
    "FAILED": "bold red",
    "TIMED_OUT": "bold red",
    "CANCELLED": "magenta",
}
_BAR_WIDTH = 16
_LONGEST_TEXT = 200
_MOST_ROWS = 100
_LARGEST_NUMBER = 1e15
# Lines of the picture that are neither a worker nor a job: frames, headings, the summary.
_FIXED_LINES = 16


def picture(document: Mapping[str, Any], *, lines: int | None = None, problem: str | None = None) -> RenderableType:
    """The picture of an endpoint, no higher than ``lines``; ``problem`` says why it is not up to date.

    ``document`` is the answer of the emulator's GET /emulator/state, or ``{"health": …, "endpoint_id", "url"}``.
    """
    parts: list[RenderableType] = [_title(document)]
    if problem is not None:
        parts.append(Text(_plain(problem), style="bold red"))
    if "health" in document:
        parts.append(_health(as_object(document["health"])))
        return Group(*parts)
    workers = [as_object(worker) for worker in as_list(document.get("workers"))][:_MOST_ROWS]
    jobs = [as_object(job) for job in as_list(document.get("recent_jobs"))][:_MOST_ROWS]
    if lines is not None:
        jobs = jobs[: max(3, lines - _FIXED_LINES - len(workers))]
    parts += [_summary(document), _workers(workers), _jobs(jobs)]
    return Group(*parts)


def _title(document: Mapping[str, Any]) -> RenderableType:
    title = Text.assemble(("comfypod top", "bold"), "  endpoint ", (_plain(document.get("endpoint_id")), "bold"))
    if document.get("emulated") is True:
        title.append("  a local emulation of RunPod, not RunPod itself", style="yellow")
        title.append(f"  up {_duration(document.get('uptime_seconds'))}")
    elif url := document.get("url"):
        title.append(f"  {_plain(url)}")
    return title


def _summary(document: Mapping[str, Any]) -> RenderableType:
    rows = {
        "queue": _queue_line(as_object(document.get("queue"))),
        "jobs": _jobs_line(as_object(document.get("jobs"))),
        "workers": _scaling_line(as_object(document.get("scaling"))),
        "spend": _spend_line(as_object(document.get("spend"))),
    }
    return Panel(_pairs(rows), expand=True)


def _queue_line(queue: Mapping[str, Any]) -> str:
    low = f", {_count(queue.get('low_priority'))} of low priority" if queue.get("low_priority") else ""
    return f"{_count(queue.get('waiting'))} waiting{low}, the longest {_duration(queue.get('longest_wait_seconds'))}"


def _jobs_line(jobs: Mapping[str, Any]) -> str:
    ended = [f"{_count(jobs.get(name))} {name}" for name in ("completed", "failed", "cancelled", "retried")]
    return ", ".join([f"{_count(jobs.get('inProgress'))} running", *ended])


def _scaling_line(scaling: Mapping[str, Any]) -> str:
    if not scaling:
        return "none of its own; it serves those that were started by hand"
    unit = "s" if scaling.get("scaler") == "QUEUE_DELAY" else "jobs each"
    limits = f"{_count(scaling.get('min'))} to {_count(scaling.get('max'))}"
    scaler = f"{_plain(scaling.get('scaler'))}, {_number(scaling.get('value')):g} {unit}"
    return f"{_count(scaling.get('wanted'))} wanted, {limits} allowed ({scaler})"


def _spend_line(spend: Mapping[str, Any]) -> str:
    price = f"${_number(spend.get('price_per_second')):g} a second"
    return f"{_dollars(spend.get('dollars'))} for {_count(spend.get('billed_seconds'))} s of workers at {price}"


def _workers(workers: list[dict[str, Any]]) -> RenderableType:
    table = _table({"worker": 1, "state": 0, "pid": 0, "job": 2, "age": 0, "billed": 0, "cost": 0})
    for worker in workers:
        state = _plain(worker.get("state"))
        table.add_row(
            _cell(worker.get("id")),
            Text(state, style=_WORKER_STYLES.get(state, "")),
            _cell(worker.get("pid")),
            Text(", ".join(_plain(job) for job in as_list(worker.get("job_ids"))[:_MOST_ROWS])),
            _duration(worker.get("age_seconds")),
            f"{_count(worker.get('billed_seconds'))} s",
            _dollars(worker.get("dollars")),
        )
    return table if workers else Text("no workers", style="dim")


def _jobs(jobs: list[dict[str, Any]]) -> RenderableType:
    table = _table({"job": 3, "state": 0, "retries": 0, "worker": 2, "delay": 0, "run": 0, "progress": 0, "": 3})
    for job in jobs:
        state, progress = _plain(job.get("status")), as_object(job.get("progress"))
        is_running = state == "IN_PROGRESS" and bool(progress)
        table.add_row(
            _cell(job.get("id")),
            Text(state, style=_JOB_STYLES.get(state, "")),
            _count(job.get("retries")) if job.get("retries") else "",
            _cell(job.get("workerId")),
            _milliseconds(job.get("delayTime")),
            _milliseconds(job.get("executionTime")),
            _bar(progress.get("value")) if is_running else "",
            _cell(progress.get("message") or progress.get("stage")) if is_running else "",
        )
    return table if jobs else Text("no jobs", style="dim")


def _health(health: Mapping[str, Any]) -> RenderableType:
    rows = {
        name: ", ".join(f"{_count(count)} {_plain(state)}" for state, count in as_object(health.get(name)).items())
        for name in ("jobs", "workers")
    }
    note = Text("RunPod tells no more than this; jobs and costs are in its console.", style="dim")
    return Panel(Group(_pairs(rows), note), expand=True)


def _pairs(rows: Mapping[str, str]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    for name, words in rows.items():
        grid.add_row(name, Text(words))
    return grid


def _table(shares: Mapping[str, int]) -> Table:
    """A table with these headings; a column takes what its content needs (0), or that share of what is left."""
    table = Table(expand=True, box=None, padding=(0, 1, 0, 0), header_style="bold dim")
    for heading, share in shares.items():
        table.add_column(heading, no_wrap=True, overflow="ellipsis", ratio=share or None)
    return table


def _bar(value: object) -> RenderableType:
    return ProgressBar(total=1.0, completed=min(1.0, max(0.0, _number(value))), width=_BAR_WIDTH)


def _plain(value: object) -> str:
    return "" if value is None else printable(str(value)[:_LONGEST_TEXT])


def _cell(value: object) -> Text:
    """A plain string in a table would be read as markup."""
    return Text(_plain(value))


def _number(value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < _LARGEST_NUMBER else 0.0  # type: ignore[arg-type]


def _count(value: object) -> str:
    return f"{_number(value):.0f}"


def _dollars(value: object) -> str:
    return f"${_number(value):.5f}"


def _milliseconds(value: object) -> str:
    return "" if value is None else _duration(_number(value) / 1000)


def _duration(value: object) -> str:
    """Seconds, in the two largest units that it has."""
    seconds = _number(value)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
