"""Following a job to its end, and saving what it made: what ``run`` and ``wait`` have in common."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from comfypod.cli.output import Output, SavedFile
from comfypod.cli.printing import write_error
from comfypod.cloud.client import Job
from comfypod.cloud.jobs import JobStatus
from comfypod.errors import ComfyPodError, JobCancelled, JobFailed, JobNotFound, JobTimedOut

Check = Callable[[], None]
"""Called now and then while a job is waited for: raises when waiting has become pointless."""


@dataclass(frozen=True, slots=True)
class Following:
    """Where a job's files go, and how long it is waited for (None: as long as it takes).

    ``arguments`` are those by which another command finds the same endpoint.
    """

    folder: Path
    max_wait_seconds: float | None = None
    arguments: str = ""


def follow(job: Job, output: Output, following: Following, check: Check) -> None:
    """Wait for the job, telling how far it is, and save what it made below ``folder/JOB``.

    Raises:
        JobFailed, JobCancelled, JobTimedOut: it did not succeed.
        DeadlineExceeded: it was waited for long enough; it goes on.
        SavingFailed, CloudUnavailable, ProtocolViolation: it succeeded, and a file could not be had.
    """

    def show(status: JobStatus) -> None:
        check()
        output.progress(status)

    with output.following():
        result = job.wait(show, timeout_seconds=following.max_wait_seconds)
    output.result(job.latest)
    paths = result.saving(following.folder / job.id)
    for artifact, path in zip([*result.images, *result.files], paths, strict=True):
        output.saved(SavedFile(job.id, path, artifact))
    for text in result.texts:
        output.text(str(text))


@contextmanager
def with_way_on(job: Job, following: Following) -> Iterator[None]:
    """Where the body fails although the job does not, say on stderr how to come to its results."""
    try:
        yield
    except (JobFailed, JobCancelled, JobTimedOut, JobNotFound):
        raise
    except ComfyPodError:
        write_error(way_on(job, following))
        raise


def way_on(job: Job, following: Following) -> str:
    """The sentence that says how to go on with a job that is not waited for any more."""
    command = f"comfypod wait {job.id}{following.arguments} --output {shlex.quote(str(following.folder))}"
    if job.latest.state.is_final:
        return f"RunPod keeps the result of job {job.id} for 30 minutes; to receive it: {command}"
    return f"Job {job.id} goes on; to receive its results: {command}"
