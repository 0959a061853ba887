"""What the caller sent cannot be run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comfypod.errors.base import ComfyPodError, ErrorWithFields


class InputError(ComfyPodError):
    """What the caller sent cannot be run."""


@dataclass(eq=False)
class InvalidJobInput(ErrorWithFields, InputError):
    """The job's input is not what ``docs/reference/job.md`` describes; ``problems`` are ``path: what to change``."""

    code = "invalid_job_input"
    problems: Sequence[str]

    def __str__(self) -> str:
        return "The job input is not valid: " + "; ".join(self.problems)


@dataclass(eq=False)
class InvalidWorkflow(ErrorWithFields, InputError):
    """The workflow is not an API-format document, or not one that this ComfyUI can run.

    ``problem`` is a sentence; ``problems`` are clauses of their own where there is more than one thing to say.
    """

    code = "invalid_workflow"
    problem: str
    node_id: str | None = None
    problems: Sequence[str] = ()

    def __str__(self) -> str:
        if self.node_id is not None:
            return f"Node {self.node_id[:100]}: {self.problem}"
        more = f" (and {len(self.problems) - 3} more)" if len(self.problems) > 3 else ""
        return f"{self.problem}: {'; '.join(self.problems[:3])}{more}" if self.problems else self.problem


@dataclass(eq=False)
class InputFetchFailed(ErrorWithFields, InputError):
    """A file of the job could not be had; ``name`` is the job's word for it, ``cause`` a clause."""

    code = "input_fetch_failed"
    name: str
    cause: str

    def __str__(self) -> str:
        return f"The file {self.name!r} could not be fetched: {self.cause}"


class InputSourceUnavailable(InputFetchFailed):
    """Its source did not answer, or broke off; later it may be there."""

    retryable = True
