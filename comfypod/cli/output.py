"""What a command tells of jobs, as events; `comfypod.cli.output_choice` has an output for each way to tell them.

Data goes to stdout, everything else to stderr.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from comfypod.cloud.jobs import JobStatus
from comfypod.errors import ComfyPodError, SavingFailed


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How a command tells what happens."""

    as_json: bool = False
    quiet: bool = False
    previews: bool = False


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A file of a job, here; ``artifact`` is what the job's output says of it."""

    job_id: str
    path: Path
    artifact: Mapping[str, Any]


class Output(Protocol):
    """Where events go; one method for each."""

    def following(self) -> AbstractContextManager[object]:
        """Whatever must stand on the screen while a job is followed."""

    def submitted(self, status: JobStatus, *, detached: bool) -> None:
        """The platform has the job; ``detached``: nobody waits for it."""

    def progress(self, status: JobStatus) -> None:
        """The newest answer about the job."""

    def result(self, status: JobStatus) -> None:
        """The job succeeded; its files are not saved yet."""

    def saved(self, file: SavedFile) -> None:
        """A file of the job is here."""

    def text(self, value: str) -> None:
        """A text that the job made."""

    def status(self, status: JobStatus) -> None:
        """Where a job stands, asked for once."""

    def cancelled(self, status: JobStatus) -> None:
        """The platform was told to cancel the job; ``status`` is its answer."""

    def health(self, document: Mapping[str, Any]) -> None:
        """The endpoint's counts of jobs and workers."""

    def failed(self, error: ComfyPodError, job_id: str | None = None) -> None:
        """The command, or what it did for one job, ends with this error; its sentence goes to stderr elsewhere."""

    def note(self, sentence: str) -> None:
        """Something a person may want to know."""


@contextmanager
def reporting(output: Output) -> Iterator[Output]:
    """Tell the output of an error that ends the command; `comfypod.cli.main` says it and has the exit code."""
    try:
        yield output
    except ComfyPodError as error:
        tell_failure(output, error)
        raise


def tell_failure(output: Output, error: ComfyPodError, job_id: str | None = None) -> None:
    """Tell the output of an error; where it cannot be written, the error itself is still what counts."""
    with suppress(SavingFailed):
        output.failed(error, job_id)
