"""One job of an emulated endpoint, and the documents in which clients, workers and webhooks see it. Pure.

Facts: docs.runpod.io, "Operation reference" and "Job states"; runpod-python 1.12.0; live captures of July and August
2026.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from comfypod.emulator.platform.requests import JobRequest, Limits
from comfypod.emulator.platform.stream import StreamBuffer

Document = dict[str, Any]

# Live capture of August 2026: this is the whole error of a job that was lost twice.
LOST_JOB_ERROR = "job timed out after 1 retries"
_LISTED_CHARACTERS = 1000


class UnknownJob(Exception):
    """No job has this id, or its result has expired: HTTP 404."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no job {job_id}, or its result has expired.")


class JobState(StrEnum):
    """RunPod's states of a job. The documented RUNNING is never seen on the wire."""

    IN_QUEUE = "IN_QUEUE"  # waits for a worker
    IN_PROGRESS = "IN_PROGRESS"  # a worker took it
    COMPLETED = "COMPLETED"  # the worker reported a result, or one that was refused (then there is no output)
    FAILED = "FAILED"  # the worker reported an error, or was lost twice
    CANCELLED = "CANCELLED"  # a client cancelled it
    TIMED_OUT = "TIMED_OUT"  # it ran longer than its executionTimeout

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self not in {JobState.IN_QUEUE, JobState.IN_PROGRESS}


@dataclass(slots=True)
class Job:
    """One job. Moments are seconds on the endpoint's clock."""

    id: str
    request: JobRequest
    sync: bool
    submitted: float
    # When its time to live is over.
    expires: float
    # When it joined the queue: its submission, or the last retry that a client asked for.
    queued: float
    # Its place in the queue, among those of its priority: smaller is earlier.
    place: int = 0
    state: JobState = JobState.IN_QUEUE
    worker_id: str | None = None
    # A planned fault has given the running job to this worker as well.
    second_worker_id: str | None = None
    started: float | None = None
    finished: float | None = None
    # When its worker last gave a sign of it.
    seen: float = 0.0
    retries: int = 0
    # Whether its end has still to be told to its webhook.
    is_webhook_due: bool = False
    # "output" and "error", each only if the worker sent it; while the job runs, the last progress as "output".
    result: Document = field(default_factory=dict)
    stream: StreamBuffer = field(default_factory=StreamBuffer)

    @property
    def is_running(self) -> bool:
        """Whether a worker has it. One that late progress has set back to IN_PROGRESS has ended all the same."""
        return self.state is JobState.IN_PROGRESS and self.finished is None

    @property
    def latest(self) -> float:
        """The last moment at which anything is known to have happened to it."""
        return max(self.queued, self.started or 0.0, self.finished or 0.0, self.seen)

    def is_with(self, worker_id: str) -> bool:
        """Whether this worker runs it."""
        return self.is_running and worker_id in {self.worker_id, self.second_worker_id}

    def due(self, limits: Limits) -> float:
        """The next moment at which time changes something about the job."""
        if self.finished is not None:
            return min(self.expires, self.finished + limits.retention_of(sync=self.sync))
        if self.is_running and self.started is not None:
            times_out = self.started + self.request.execution_seconds
            return min(self.expires, times_out, self.seen + limits.lost_job_seconds)
        return self.expires

    def status_document(self, now: float) -> Document:
        """The answer of /status: only what is known is in it. Durations are in milliseconds.

        ``delayTime`` counts from joining the queue to the start of the last attempt, so it grows when a job is lost.
        """
        document: Document = {"id": self.id, "status": self.state.value, **self.result}
        if self.worker_id is not None:
            document["workerId"] = self.worker_id
        if self.started is not None:
            end = now if self.finished is None else self.finished
            document["delayTime"] = _milliseconds(self.started - self.queued)
            document["executionTime"] = _milliseconds(end - self.started)
        if self.retries:
            document["retries"] = self.retries
        return document

    def webhook_document(self, now: float) -> Document:
        """The body of a webhook: that of /status, and what was sent (live capture of July 2026)."""
        return {**self.status_document(now), "input": self.request.input, "webhook": self.request.webhook}

    def listed_document(self, now: float) -> Document:
        """An entry of /requests, in a shape of our own: that of /status, the input, and the moment of submission.

        What may be large is left to /status: the output, and texts in the input beyond their beginning.
        """
        document = self.status_document(now)
        document.pop("output", None)
        created = datetime.fromtimestamp(self.submitted, UTC).isoformat(timespec="milliseconds")
        return {**document, "input": _shortened(self.request.input), "createdAt": created}

    def take_document(self, *, has_policy: bool = False) -> Document:
        """What a worker gets.

        An empty input is left out, as on the platform, where such a job therefore never runs (runpod-python's
        ``rp_job.get_job`` refuses a job without input). ``has_policy`` adds the policy, which otherwise stays with the
        platform.
        """
        request = self.request
        document: Document = {"id": self.id}
        if request.input not in ({}, [], ""):
            document["input"] = request.input
        extras = {"webhook": request.webhook, "s3Config": request.s3_config}
        if has_policy:
            extras["policy"] = request.policy
        return document | {name: value for name, value in extras.items() if value is not None}


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _shortened(value: Any) -> Any:  # noqa: ANN401 (any JSON)
    """The value with its long texts cut: files that came along as base64."""
    if isinstance(value, str):
        return value if len(value) <= _LISTED_CHARACTERS else f"{value[:_LISTED_CHARACTERS]}…"
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    if isinstance(value, dict):
        return {name: _shortened(item) for name, item in value.items()}
    return value
