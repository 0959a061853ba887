"""A job as RunPod's ``/status`` tells it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from comfypod.errors import JobCancelled, JobFailed, JobTimedOut, ProtocolViolation

_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
"""What RunPod's own tools accept as a job id; it becomes part of addresses and of folder names."""


class JobState(StrEnum):
    """RunPod's own words. ``RUNNING`` is documented as another name of ``IN_PROGRESS``."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"

    @property
    def is_final(self) -> bool:
        """Whether the job will change no more."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.TIMED_OUT)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One answer of ``/run``, ``/status`` or ``/cancel``; times in milliseconds, None where not told."""

    id: str
    state: JobState
    output: Any = None
    error: Any = None
    delay_ms: int | None = None
    execution_ms: int | None = None
    worker_id: str | None = None
    retries: int = 0

    @classmethod
    def parse(cls, document: Any) -> JobStatus:  # noqa: ANN401 (foreign JSON)
        """Read an answer.

        Raises:
            ProtocolViolation: it has no plain id, or a state that is not known.
        """
        state = str(document.get("status")) if isinstance(document, dict) else ""
        job_id = str(document.get("id", "")) if isinstance(document, dict) else ""
        if state not in JobState.__members__ or not _PLAIN_ID.fullmatch(job_id):
            raise ProtocolViolation("RunPod", str(document)[:200])
        return cls(
            id=job_id,
            state=JobState(state),
            output=document.get("output"),
            error=document.get("error"),
            delay_ms=document.get("delayTime"),
            execution_ms=document.get("executionTime"),
            worker_id=document.get("workerId"),
            retries=document.get("retries") or 0,
        )

    @property
    def progress(self) -> Mapping[str, Any] | None:
        """The worker's latest update (``docs/reference/job.md``), while the job runs and once there is one."""
        running = self.state in (JobState.IN_PROGRESS, JobState.RUNNING)
        return self.output if running and isinstance(self.output, dict) and "value" in self.output else None

    def result(self) -> Mapping[str, Any]:
        """The output of a job that ended.

        Raises:
            JobFailed: it failed, or its result never reached the platform.
            JobCancelled, JobTimedOut: it was cancelled, or given up.
        """
        if self.state is JobState.CANCELLED:
            raise JobCancelled(self.id)
        if self.state is JobState.TIMED_OUT:
            raise JobTimedOut(self.id)
        output = self.output if isinstance(self.output, dict) else {}
        if self.state is JobState.FAILED:
            raise JobFailed(self.id, str(self.error or "the worker gave no reason"), output)
        if not output:
            # What the platform shows when it has refused the result, as too large or as no JSON.
            raise JobFailed(self.id, "The job completed, but RunPod has no output of it: the result was refused")
        return output
