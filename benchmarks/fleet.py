"""Many jobs at once for an endpoint without workers: it grows to its maximum, does them all, and shrinks to nothing.

    python -m benchmarks.fleet --jobs 100 --picture fleet.svg

Prints when the workers came and went, and what they cost. Exit code 1 if a job was lost, failed or brought another
one's picture, or if workers are left in the end.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console

from comfypod.child import Child
from comfypod.cli.services import READY_PREFIX
from comfypod.cli.top import Observer
from comfypod.cli.top_view import picture
from comfypod.cloud.client import Client, Job
from comfypod.cloud.configuration import Connection
from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError

ENDPOINT, KEY = "local", "local"
STEP_SECONDS = 600.0
"""Longest wait for anything in here."""
_LOOK_SECONDS = 0.1


@dataclass
class Report:
    """What came of it. ``timeline``: seconds since the first job, workers (frozen ones apart), jobs done."""

    jobs: int
    done: int = 0
    seconds: float = 0.0
    timeline: list[tuple[float, int, int]] = field(default_factory=list)
    by_worker: Counter[str] = field(default_factory=Counter)
    states: dict[str, Any] = field(default_factory=dict)
    picture: dict[str, Any] | None = None

    @property
    def most_workers(self) -> int:
        return max((workers for _, workers, _ in self.timeline), default=0)

    @property
    def workers_left(self) -> int:
        return self.timeline[-1][1] if self.timeline else 0


@contextmanager
def emulated(log: Path, *options: str) -> Iterator[str]:
    """``comfypod emulate runpod`` with these options; its base URL."""
    ready = threading.Event()
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        if line.startswith(READY_PREFIX):
            ready.set()

    command = [sys.executable, "-m", "comfypod", "emulate", "runpod", "--port", "0", "--log", str(log), *options]
    child = Child(command, on_line=on_line)
    try:
        if not ready.wait(30):
            raise RuntimeError("\n".join(lines) or "the local RunPod does not start")
        yield next(line for line in lines if line.startswith(READY_PREFIX)).removeprefix(READY_PREFIX)
    finally:
        child.stop(15)


def run(jobs: int, log: Path, options: Sequence[str]) -> Report:
    """Submit so many jobs at once, and watch until the last worker is gone."""
    report = Report(jobs)
    with (
        emulated(log, *options) as base_url,
        Client(ENDPOINT, KEY, base_url) as client,
        Observer(Connection(ENDPOINT, KEY, base_url)) as observer,
        ThreadPoolExecutor(8) as pool,
    ):
        report.timeline.append((0.0, len(observer.look()["workers"]), 0))
        begun = time.monotonic()
        submitted = [(client.submit(workflow(color)), color) for color in range(1, jobs + 1)]
        results = [pool.submit(brings_back, job, color) for job, color in submitted]
        watch(observer, report, begun)
        report.done = sum(result.result() for result in results)
    return report


def watch(observer: Observer, report: Report, begun: float) -> None:
    """Write down every change until all jobs have ended and no worker is left."""
    deadline = Deadline.after(STEP_SECONDS)
    while True:
        deadline.check("watching the fleet")
        state = observer.look()
        workers = [worker for worker in state["workers"] if worker["state"] != "frozen"]
        ended = state["jobs"]["completed"] + state["jobs"]["failed"]
        if report.timeline[-1][1] != len(workers):
            report.timeline.append((time.monotonic() - begun, len(workers), ended))
        if report.picture is None and ended * 2 >= report.jobs and any(worker["job_ids"] for worker in workers):
            report.picture = dict(state)
        if ended >= report.jobs and not workers:
            report.seconds = time.monotonic() - begun
            report.states = dict(state)
            report.by_worker.update(job["workerId"] for job in state["recent_jobs"])
            return
        time.sleep(_LOOK_SECONDS)


def workflow(color: int) -> dict[str, Any]:
    """One that makes a small picture of this colour."""
    inputs = {"width": 64, "height": 64, "batch_size": 1, "color": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": inputs},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "fleet"}},
    }


def brings_back(job: Job, color: int) -> bool:
    """Whether the job brings a picture of this colour."""
    try:
        (image,) = job.wait(timeout_seconds=STEP_SECONDS).images
        with Image.open(io.BytesIO(image.read())) as made:
            return made.convert("RGB").getpixel((0, 0)) == (color >> 16, color >> 8 & 255, color & 255)
    except ComfyPodError as error:
        print(f"job {job.id}: {error.code}: {error}")
        return False


def save_picture(state: dict[str, Any], file: Path) -> None:
    """What ``comfypod top`` showed in mid-run, as SVG."""
    console = Console(record=True, width=150, file=io.StringIO(), force_terminal=True)
    console.print(picture(state, lines=40))
    console.save_svg(str(file), title="comfypod top")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--max-workers", type=int, default=3)
    parser.add_argument("--cost", type=float, default=0.00031, help="dollars for a worker's second")
    parser.add_argument("--flash-boot", action="store_true")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="save an SVG of comfypod top in mid-run")
    arguments = parser.parse_args()
    options = ["--max-workers", str(arguments.max_workers), "--cost", str(arguments.cost)]
    options += ["--flash-boot"] if arguments.flash_boot else []
    with tempfile.TemporaryDirectory(prefix="comfypod-fleet-") as folder:
        report = run(arguments.jobs, Path(folder) / "workers.log", options)
    for seconds, workers, ended in report.timeline:
        print(f"{seconds:7.1f} s  {workers} workers  {ended:4} jobs ended")
    spend = report.states["spend"]
    print(f"jobs {report.jobs}, right {report.done}, in {report.seconds:.1f} s, most workers {report.most_workers}")
    print(f"billed {spend['billed_seconds']} s, ${spend['dollars']:.5f} at ${spend['price_per_second']} a second")
    if arguments.picture and report.picture:
        save_picture(report.picture, arguments.picture)
    return 0 if report.done == report.jobs and not report.workers_left else 1


if __name__ == "__main__":
    sys.exit(main())
