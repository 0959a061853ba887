"""``comfypod run``: one job from the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from comfypod.cli.display import ProgressDisplay, printable
from comfypod.cli.job_input import GivenJob, make_job_input
from comfypod.cli.local import local_endpoint
from comfypod.cloud.client import Client, Job
from comfypod.cloud.endpoint import RUNPOD_URL
from comfypod.cloud.jobs import JobStatus
from comfypod.cloud.saving import save_artifacts
from comfypod.errors import CloudError, ConfigurationError, SavingFailed

Check = Callable[[], None]

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it (128 + SIGINT)."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where the job goes, and where its results go."""

    output: Path
    local: bool
    endpoint_id: str | None
    api_key: str | None
    base_url: str | None


def run_command(given: GivenJob, options: RunOptions) -> int:
    """Run the job and return the exit code; saved paths go to stdout."""
    job_input = make_job_input(given)
    console = Console(stderr=True)
    try:
        with _client(options, console) as (client, check):
            return _follow(client, check, job_input, options, console)
    except KeyboardInterrupt:
        console.print("Interrupted.")
        return INTERRUPTED


def _follow(client: Client, check: Check, job_input: Mapping[str, Any], options: RunOptions, console: Console) -> int:
    job: Job | None = None
    try:
        with ProgressDisplay(console) as display:

            def show(status: JobStatus) -> None:
                check()
                display.show(status)

            job = client.submit(job_input)
            output = job.wait(show)
    except KeyboardInterrupt:
        if job is not None:
            console.print(f"Cancelling job {job.id} …")
            _cancel(job, console)
        return INTERRUPTED
    _report(output, console)
    try:
        paths = save_artifacts(output, options.output / job.id)
    except SavingFailed:
        if not options.local:
            console.print(
                f"RunPod keeps the result for 30 minutes: GET {client.endpoint.url}/status/{job.id}", soft_wrap=True
            )
        raise
    for path in paths:
        print(path)
    for text in output.get("texts", []):
        print(text.get("value"))
    return 0


def _cancel(job: Job, console: Console) -> None:
    try:
        console.print(f"Job {job.id}: {job.cancel().state}")
    except CloudError as error:
        console.print(Text(f"The job could not be cancelled: {error}"))


def _report(output: Mapping[str, Any], console: Console) -> None:
    """Say what the result is worth: its time, its engine, its warnings."""
    timings = output.get("timings") or {}
    parts = ", ".join(
        f"{name.removesuffix('_ms')} {timings[name] / 1000:.2f} s"
        for name in ("prepare_ms", "queue_ms", "execute_ms", "deliver_ms", "total_ms")
        if isinstance(timings.get(name), int | float)
    )
    console.print(Text(f"Timings: {parts}"), soft_wrap=True)
    for warning in output.get("warnings", []):
        console.print(Text(printable(f"Warning: {warning}")), soft_wrap=True)
    if (output.get("worker") or {}).get("engine") == "emulator":
        console.print("Made by the built-in engine, which draws shapes; it is not a model.")


@contextmanager
def _client(options: RunOptions, console: Console) -> Iterator[tuple[Client, Check]]:
    """The client to use, and what to call now and then to learn that waiting has become pointless."""
    if options.local:
        with local_endpoint() as local:
            console.print(Text(f"Starting a local RunPod with one worker (log: {local.log_file})"))
            with Client(local.endpoint_id, local.api_key, local.base_url()) as client:
                yield client, local.check
        return
    if not options.endpoint_id or not options.api_key:
        raise ConfigurationError(
            ["Say where to run: --local, or an endpoint (--endpoint ID and the key in RUNPOD_API_KEY)."]
        )
    with Client(options.endpoint_id, options.api_key, options.base_url or RUNPOD_URL) as client:
        yield client, lambda: None
