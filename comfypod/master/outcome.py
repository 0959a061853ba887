"""How a request ends, made of what the worker, RunPod and the bucket say. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfypod.cloud.jobs import JobStatus
from comfypod.errors import ComfyPodError, ConfigurationError
from comfypod.master.documents import Outcome
from comfypod.master.failures import FailureClass, describe
from comfypod.storage.commits import Committed

_NOT_COMMITTED = (
    "The worker says that it succeeded, but its result is not in the bucket: the settings BUCKET_… of the endpoint and "
    "of the master must name the same bucket, and the endpoint's image must know `once`."
)


@dataclass(frozen=True, slots=True)
class Setback:
    """An attempt that came to nothing; ``worker_id`` is who had it, where that is known."""

    error: ComfyPodError
    worker_id: str | None = None


def succeeded(committed: Committed, status: JobStatus | None = None) -> Outcome:
    """The end of a request whose result was committed; ``status`` is of the job that was followed."""
    return Outcome(
        state="succeeded",
        output=dict(committed.output),
        worker_id=committed.worker_id,
        timings=_timings(committed.output, status),
    )


def described(status: JobStatus) -> Outcome | None:
    """The end of a request that only asked what can be set in a workflow: such a job runs and commits nothing.

    None: the job is no such one.
    """
    output = status.output
    if not isinstance(output, dict) or "description" not in output:
        return None
    return Outcome(state="succeeded", output=output, worker_id=status.worker_id, timings=_timings(output, status))


def failed(setback: Setback, failure: FailureClass) -> Outcome:
    """The end of a request that is not tried again."""
    return Outcome(state="failed", error=describe(setback.error, failure), worker_id=setback.worker_id)


def cancelled() -> Outcome:
    """The end of a request that nobody wants any more."""
    return Outcome(state="cancelled")


def not_committed() -> ConfigurationError:
    """What is wrong where a job succeeded, and no result was committed."""
    return ConfigurationError([_NOT_COMMITTED])


def is_duplicate(status: JobStatus) -> bool:
    """Whether a worker left this job to another that is at it (``docs/reference/job.md``)."""
    return isinstance(status.output, dict) and status.output.get("status") == "duplicate"


def _timings(output: Mapping[str, Any], status: JobStatus | None) -> dict[str, int]:
    """Milliseconds: on RunPod (``delay_ms``, ``run_ms``), where the job's status is known; on the GPU (``gpu_ms``)."""
    told = output.get("timings")
    found = {
        "delay_ms": status.delay_ms if status else None,
        "run_ms": status.execution_ms if status else None,
        "gpu_ms": told.get("execute_ms") if isinstance(told, Mapping) else None,
    }
    return {name: round(value) for name, value in found.items() if isinstance(value, int | float)}
