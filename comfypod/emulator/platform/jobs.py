"""The state of one emulated RunPod endpoint: its jobs, their queue, limits and ends.

Pure: no I/O and no clock of its own. The server calls `EndpointJobs.sweep` a few times a second, because jobs also
end when nobody calls: they time out, get lost with their worker, or are forgotten.

Facts come from RunPod's documentation (docs.runpod.io, "Send API requests", "Operation reference", "Job states") and
from what the worker's library does (runpod-python 1.12.0). Where both are silent, the stricter reading is taken.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from comfypod.emulator.platform.requests import JobRequest, Limits

Document = dict[str, Any]

# Live capture of July 2026: this is the whole error of a job that was lost twice.
LOST_JOB_ERROR = "job timed out after 1 retries"


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
    expires: float
    state: JobState = JobState.IN_QUEUE
    worker_id: str | None = None
    started: float | None = None
    finished: float | None = None
    # When its worker last gave a sign of it.
    seen: float = 0.0
    retries: int = 0
    # "output" and "error", each only if the worker sent it; while the job runs, the last progress as "output".
    result: Document = field(default_factory=dict)

    def status_document(self, now: float) -> Document:
        """The answer of /status: only what is known is in it. Durations are in milliseconds.

        ``delayTime`` counts from the submission to the start of the last attempt.
        """
        document: Document = {"id": self.id, "status": self.state.value, **self.result}
        if self.worker_id is not None:
            document["workerId"] = self.worker_id
        if self.started is not None:
            end = now if self.finished is None else self.finished
            document["delayTime"] = round((self.started - self.submitted) * 1000)
            document["executionTime"] = round((end - self.started) * 1000)
        if self.retries:
            document["retries"] = self.retries
        return document

    def take_document(self) -> Document:
        """What a worker gets.

        An empty input is left out, as on the platform, where such a job therefore never runs (runpod-python's
        ``rp_job.get_job`` refuses a job without input). The policy stays with the platform.
        """
        document: Document = {"id": self.id}
        if self.request.input not in ({}, [], ""):
            document["input"] = self.request.input
        if self.request.s3_config is not None:
            document["s3Config"] = self.request.s3_config
        return document


@dataclass(frozen=True, slots=True)
class Demand:
    """What the scaler looks at: jobs that wait (low priority apart), how long the first of them has, jobs that run."""

    queued: int
    longest_wait_seconds: float
    in_progress: int


@dataclass(slots=True)
class _Worker:
    seen: float
    is_unhealthy: bool = False


class EndpointJobs:
    """All jobs of one endpoint. Not thread-safe; ``clock`` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float], limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.stop_pod_requests: list[str] = []
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._queue: deque[str] = deque()
        self._stops: dict[str, list[str]] = {}
        self._workers: dict[str, _Worker] = {}
        # Totals since the start, as /health reports them; retention does not lower them.
        self._ended: dict[str, int] = {"completed": 0, "failed": 0, "retried": 0}

    # What a client does.

    def submit(self, request: JobRequest, *, sync: bool = False) -> Job:
        """Queue a job. Ids look like RunPod's: a UUID, ``sync-`` before it for /runsync, a region after it."""
        now = self._clock()
        job_id = f"{'sync-' if sync else ''}{uuid.uuid4()}-u1"
        job = Job(job_id, request, sync, submitted=now, expires=now + request.ttl_seconds)
        self._jobs[job_id] = job
        self._queue.append(job_id)
        return job

    def status(self, job_id: str, ttl_milliseconds: object = None) -> Document:
        """The answer of /status; ``ttl_milliseconds`` changes the job's time to live, counted from its submission.

        Raises:
            UnknownJob: there is none, or no longer.
            InvalidRequest: the time to live is no number, or outside the documented range.
        """
        job = self._get(job_id)
        if ttl_milliseconds is not None:
            job.expires = job.submitted + self.limits.ttl(ttl_milliseconds)
        return job.status_document(self._clock())

    def cancel(self, job_id: str) -> Document:
        """Cancel a job that waits or runs; one that has ended stays as it is, and the answer says how it ended.

        Raises:
            UnknownJob: there is none, or no longer.
        """
        job = self._get(job_id)
        if not job.state.is_final:
            self._withdraw(job)
            self._finish(job, JobState.CANCELLED, {})
        return {"id": job.id, "status": job.state.value}

    def is_settled(self, job_id: str) -> bool:
        """Whether there is nothing left to wait for: the job has ended, or is gone."""
        job = self._jobs.get(job_id)
        return job is None or job.state.is_final

    def health(self, starting_workers: Iterable[str] = ()) -> Document:
        """The answer of /health. A timed-out job counts as failed, a cancelled one not at all.

        ``starting_workers`` are ids whose process was started; those not heard of yet are ``initializing``.
        """
        busy = [job.worker_id for job in self._jobs.values() if job.state is JobState.IN_PROGRESS]
        unhealthy = {worker_id for worker_id, worker in self._workers.items() if worker.is_unhealthy}
        running = (set(self._workers) - unhealthy) & set(busy)
        idle = len(self._workers) - len(unhealthy) - len(running)
        return {
            "jobs": {**self._ended, "inProgress": len(busy), "inQueue": len(self._queue)},
            "workers": {
                "idle": idle,
                "initializing": len(set(starting_workers) - set(self._workers)),
                "ready": idle,
                "running": len(running),
                "throttled": 0,
                "unhealthy": len(unhealthy),
            },
        }

    def demand(self) -> Demand:
        """How much there is to do."""
        waits = [self._clock() - self._jobs[job_id].submitted for job_id in self._queue]
        running = sum(job.state is JobState.IN_PROGRESS for job in self._jobs.values())
        return Demand(len(waits), max(waits, default=0.0), running)

    def jobs_of(self, worker_id: str) -> list[str]:
        """The jobs that the worker has taken and that have not ended."""
        return [
            job.id for job in self._jobs.values() if job.worker_id == worker_id and job.state is JobState.IN_PROGRESS
        ]

    # What a worker does.

    def hear(self, worker_id: str) -> None:
        """Note that the worker gave a sign of life."""
        self._workers.setdefault(worker_id, _Worker(0.0)).seen = self._clock()

    def ping(self, worker_id: str, job_ids: Iterable[str], *, is_unhealthy: bool = False) -> None:
        """A heartbeat: the named jobs are still with this worker."""
        self.hear(worker_id)
        self._workers[worker_id].is_unhealthy = is_unhealthy
        for job_id in job_ids:
            if job := self._held(worker_id, job_id):
                job.seen = self._clock()

    def take(self, worker_id: str, count: int = 1) -> list[Document]:
        """Hand up to ``count`` jobs to the worker. If they do not reach it, call `give_back`."""
        taken = [self._jobs[self._queue.popleft()] for _ in range(min(count, len(self._queue)))]
        for job in taken:
            job.state, job.worker_id = JobState.IN_PROGRESS, worker_id
            job.started = job.seen = self._clock()
        return [job.take_document() for job in taken]

    def has_queued(self) -> bool:
        """Whether a job waits for a worker."""
        return bool(self._queue)

    def give_back(self, worker_id: str, job_ids: Iterable[str]) -> None:
        """Put jobs that never reached the worker at the head of the queue, as if they had not been taken."""
        for job_id in reversed(list(job_ids)):
            if job := self._held(worker_id, job_id):
                self._requeue(job)

    def take_stops(self, worker_id: str) -> list[str]:
        """The jobs that the worker must stop; each is told once."""
        return self._stops.pop(worker_id, [])

    def has_stops(self, worker_id: str) -> bool:
        """Whether the worker has still to hear of a stop."""
        return worker_id in self._stops

    def stop_all_of(self, worker_id: str) -> None:
        """Tell the worker to stop every job that it runs; their states stay."""
        for job in self._jobs.values():
            if job.worker_id == worker_id and job.state is JobState.IN_PROGRESS:
                self._stops.setdefault(worker_id, []).append(job.id)

    def result_limit_bytes(self, job_id: str) -> int:
        """The largest result of this job.

        Raises:
            UnknownJob: there is none, or no longer.
        """
        return self.limits.bytes_of(sync=self._get(job_id).sync)

    def report(self, worker_id: str, job_id: str, body: Document) -> bool:
        """Progress or the result of a job; False if it changed nothing, because the job is not with this worker.

        That a worker which lost its job is ignored is not documented; it is the harder case for our own code.

        Raises:
            UnknownJob: there is none, or no longer.
        """
        self._get(job_id)
        if body.get("stopPod") is True:
            self.stop_pod_requests.append(worker_id)
        job = self._held(worker_id, job_id)
        if job is None:
            return False
        result: Document = {name: value for name, value in body.items() if name in {"output", "error"}}
        if body.get("status") == JobState.IN_PROGRESS:
            job.seen, job.result = self._clock(), result
        else:
            self._finish(job, JobState.FAILED if body.get("error") else JobState.COMPLETED, result)
        return True

    def refuse_result(self, worker_id: str, job_id: str) -> None:
        """A result that is too large or not JSON: the platform answers 400 and shows COMPLETED without output.

        Seen in runpod-workers/worker-comfyui issues 129 and 167.
        """
        if job := self._held(worker_id, job_id):
            self._finish(job, JobState.COMPLETED, {})

    def forget_worker(self, worker_id: str) -> None:
        """The worker is gone, or has been silent for too long. Its jobs stay with it until they count as lost."""
        self._workers.pop(worker_id, None)
        self._stops.pop(worker_id, None)

    # What time does.

    def sweep(self) -> bool:
        """Apply every limit that depends on time; True if a job changed."""
        now = self._clock()
        for worker_id, worker in list(self._workers.items()):
            if now >= worker.seen + self.limits.silent_worker_seconds:
                self.forget_worker(worker_id)
        changed = [job.id for job in list(self._jobs.values()) if self._sweep_job(job, now)]
        return bool(changed)

    def _sweep_job(self, job: Job, now: float) -> bool:
        retention = self.limits.runsync_retention_seconds if job.sync else self.limits.run_retention_seconds
        if now >= job.expires or (job.finished is not None and now >= job.finished + retention):
            self._withdraw(job)
            del self._jobs[job.id]
        elif job.state is JobState.IN_PROGRESS and job.started is not None:
            if now >= job.started + job.request.execution_seconds:
                self._withdraw(job)
                self._finish(job, JobState.TIMED_OUT, {})
            elif now >= job.seen + self.limits.lost_job_seconds:
                self._lose(job)
            else:
                return False
        else:
            return False
        return True

    def _lose(self, job: Job) -> None:
        if job.retries:
            self._finish(job, JobState.FAILED, {"error": LOST_JOB_ERROR})
            return
        job.retries += 1
        self._ended["retried"] += 1
        self._requeue(job)

    def _requeue(self, job: Job) -> None:
        job.state, job.worker_id, job.started, job.result = JobState.IN_QUEUE, None, None, {}
        self._queue.appendleft(job.id)

    def _withdraw(self, job: Job) -> None:
        """Take the job out of the queue, or have its worker told to stop it."""
        if job.state is JobState.IN_QUEUE:
            self._queue.remove(job.id)
        elif job.state is JobState.IN_PROGRESS and job.worker_id is not None:
            self._stops.setdefault(job.worker_id, []).append(job.id)

    def _finish(self, job: Job, state: JobState, result: Document) -> None:
        job.state, job.result, job.finished = state, result, self._clock()
        if state is not JobState.CANCELLED:
            self._ended["completed" if state is JobState.COMPLETED else "failed"] += 1

    def _get(self, job_id: str) -> Job:
        try:
            return self._jobs[job_id]
        except KeyError:
            raise UnknownJob(job_id) from None

    def _held(self, worker_id: str, job_id: str) -> Job | None:
        """The job, if this worker has it and it has not ended."""
        job = self._jobs.get(job_id)
        is_held = job is not None and job.worker_id == worker_id and job.state is JobState.IN_PROGRESS
        return job if is_held else None
