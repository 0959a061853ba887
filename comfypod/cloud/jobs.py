"""A job as RunPod's ``/status`` tells it. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from comfypod.cloud.documents import Document
from comfypod.cloud.failures import job_failure
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

    @property
    def is_running(self) -> bool:
        """Whether a worker has it."""
        return self in (JobState.IN_PROGRESS, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class PreviewImage:
    """A picture of the state so far; ``data`` is a file of this content type."""

    node_id: str | None
    content_type: str
    data: bytes


class JobProgress(Document):
    """The worker's update (``docs/reference/job.md``): its fields by name, and as they came with ``[…]``.

    A field that is missing, or is not what it should be, is None.
    """

    @property
    def value(self) -> float | None:
        """How much of the whole job is done, 0 to 1; never falls."""
        return self.number("value")

    @property
    def sequence(self) -> int | None:
        """Counts the updates from 1."""
        return self.whole_number("sequence")

    @property
    def stage(self) -> str | None:
        """``prepare``, ``queue``, ``execute`` or ``deliver``."""
        return self.text("stage")

    @property
    def message(self) -> str | None:
        """What is going on, for people."""
        return self.text("message")

    @property
    def nodes_done(self) -> int | None:
        """So many of the workflow's nodes are done."""
        return self.whole_number("nodes_done")

    @property
    def nodes_total(self) -> int | None:
        """So many nodes are to be run."""
        return self.whole_number("nodes_total")

    @property
    def current_node(self) -> str | None:
        """The id of the node that runs."""
        return self.text("current_node")

    @property
    def current_node_class(self) -> str | None:
        """Its class."""
        return self.text("current_node_class")

    @property
    def current_node_title(self) -> str | None:
        """Its title."""
        return self.text("current_node_title")

    @property
    def step(self) -> int | None:
        """The step that the node is at."""
        return self.whole_number("step")

    @property
    def steps(self) -> int | None:
        """So many steps the node has."""
        return self.whole_number("steps")

    @property
    def eta_seconds(self) -> float | None:
        """An estimate of what is left, in seconds."""
        return self.number("eta_seconds")

    @property
    def preview(self) -> PreviewImage | None:
        """The newest preview, of a job that asked for them."""
        item = self.get("preview")
        if not isinstance(item, dict):
            return None
        preview = Document(item)
        try:
            data = base64.b64decode(preview.text("data_base64") or "", validate=True)
        except (binascii.Error, ValueError):
            return None
        content_type = preview.text("content_type") or "application/octet-stream"
        return PreviewImage(preview.text("node_id"), content_type, data) if data else None


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
        if state not in JobState.__members__ or not is_plain_id(job_id):
            raise ProtocolViolation("RunPod", str(document)[:200])
        told = Document(document)
        return cls(
            id=job_id,
            state=JobState(state),
            output=document.get("output"),
            error=document.get("error"),
            delay_ms=told.whole_number("delayTime"),
            execution_ms=told.whole_number("executionTime"),
            worker_id=told.text("workerId"),
            retries=told.whole_number("retries") or 0,
        )

    @property
    def progress(self) -> JobProgress | None:
        """The worker's latest update, while the job runs and once there is one."""
        is_update = self.state.is_running and isinstance(self.output, dict) and "value" in self.output
        return JobProgress(self.output) if is_update else None

    def result(self) -> Mapping[str, Any]:
        """The output of a job that ended.

        Raises:
            JobFailed: it failed, or its result never reached the platform. It is also the error that the worker
                named, such as `OutOfMemory`.
            JobCancelled, JobTimedOut: it was cancelled, or given up.
            ProtocolViolation: its output is not an object.
        """
        if self.state is JobState.CANCELLED:
            raise JobCancelled(self.id)
        if self.state is JobState.TIMED_OUT:
            raise JobTimedOut(self.id)
        if self.state is JobState.FAILED:
            raise job_failure(self.id, self.error, self.output)
        if self.output is None or self.output == {}:
            raise JobFailed(self.id, REFUSED_RESULT)
        if not isinstance(self.output, dict):
            raise ProtocolViolation("The worker", f"a result that is no object: {self.output!r:.100}")
        return self.output


REFUSED_RESULT = (
    "The job completed, but RunPod has no output of it: it drops a result of more than 10 MB, or that is no JSON, "
    "without a word; have the worker deliver to a bucket, or make the result smaller"
)
"""Seen with HTTP 400 in workers' logs (github.com/runpod-workers/worker-comfyui, issues 129 and 167)."""


def is_plain_id(job_id: str) -> bool:
    """Whether this can be a job's id."""
    return _PLAIN_ID.fullmatch(job_id) is not None


def job_by_key(document: Any, idempotency_key: str) -> JobStatus | None:  # noqa: ANN401 (foreign JSON)
    """The first job with this key in a list of jobs: the document itself, or any list that is a value in it.

    The key is looked for in the job's input and output. Of what the list says of the job only the id is taken: where
    the job stands, and what it made, its own status tells.

    Raises:
        ProtocolViolation: there is no such list, or the job's entry is none.
    """
    values = list(document.values()) if isinstance(document, dict) else [document]
    lists = [value for value in values if isinstance(value, list) and all(isinstance(item, dict) for item in value)]
    if not lists:
        raise ProtocolViolation("RunPod", f"no list of jobs: {str(document)[:150]}")
    for entry in (entry for entries in lists for entry in entries):
        for part in (entry.get("input"), entry.get("output")):
            if isinstance(part, dict) and part.get("idempotency_key") == idempotency_key:
                return JobStatus(JobStatus.parse(entry).id, JobState.IN_QUEUE)
    return None
