"""What a visitor of the web page asked of a run, or of its files, cannot be done."""

from __future__ import annotations

from dataclasses import dataclass

from comfypod.errors.base import ErrorWithFields
from comfypod.errors.web import WebError


@dataclass(eq=False)
class RunNotFound(ErrorWithFields, WebError):
    """This visitor has no such run: it was removed, or is somebody else's, which is told alike."""

    code = "run_not_found"
    run_id: str

    def __str__(self) -> str:
        return f"There is no run {self.run_id[:60]}; it may have been removed"


@dataclass(eq=False)
class FileNotFound(ErrorWithFields, WebError):
    """A run has no such file or preview, or this visitor no such upload; ``what`` is a noun."""

    code = "file_not_found"
    what: str

    def __str__(self) -> str:
        return f"{self.what} is not here; it may have been removed to make room"


@dataclass(eq=False)
class RunNotEnded(ErrorWithFields, WebError):
    """A run that has not ended was to be removed."""

    code = "run_not_ended"
    run_id: str

    def __str__(self) -> str:
        return "This run has not ended; cancel it first"


@dataclass(eq=False)
class TooManyRuns(ErrorWithFields, WebError):
    """A visitor has as many runs at once as are allowed."""

    code = "too_many_runs"
    retryable = True
    limit: int

    def __str__(self) -> str:
        return f"{self.limit} runs are under way, and no more are allowed at once; wait for one to end, or cancel one"


@dataclass(eq=False)
class EndpointChanged(ErrorWithFields, WebError):
    """A run was begun at another endpoint (``url``) than the one that is served now; it may go on there."""

    code = "endpoint_changed"
    url: str
    job_id: str | None

    def __str__(self) -> str:
        job = f" as job {self.job_id}" if self.job_id else ""
        return f"This run was sent to {self.url}{job}; the server works for another endpoint now, and cannot follow it"
