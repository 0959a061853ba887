"""The state of one emulated RunPod endpoint: its jobs, their queue, limits and ends.

Pure: no I/O and no clock of its own. What happens to a job without anybody calling stands in `JobLifecycle`, which the
server sweeps a few times a second.

Facts come from RunPod's documentation (docs.runpod.io, "Send API requests", "Operation reference", "Job states") and
from what the worker's library does (runpod-python 1.12.0). Where both are silent there is a switch, or the stricter
reading is taken.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from comfypod.emulator.platform import gauges
from comfypod.emulator.platform.gauges import Demand
from comfypod.emulator.platform.job import LOST_JOB_ERROR, Document, Job, JobState, UnknownJob
from comfypod.emulator.platform.lifecycle import JobLifecycle, Notice
from comfypod.emulator.platform.rates import TooManyRequests
from comfypod.emulator.platform.requests import JobRequest
from comfypod.emulator.platform.stream import chunks_of

__all__ = ["LOST_JOB_ERROR", "Demand", "Document", "EndpointJobs", "JobState", "Notice", "RetryRefused", "UnknownJob"]

_RETRIED_STATES = frozenset({JobState.FAILED, JobState.TIMED_OUT})


class RetryRefused(Exception):
    """The job did not fail: the HTTP status is the switch ``refused_retry``."""


class EndpointJobs(JobLifecycle):
    """All jobs of one endpoint, and what clients and workers do with them."""

    # What a client does.

    def submit(self, request: JobRequest, *, sync: bool = False, max_workers: int | None = None) -> Job:
        """Queue a job. Ids look like RunPod's: a UUID, ``sync-`` before it for /runsync, a region after it.

        Raises:
            TooManyRequests: more jobs wait than ``max_workers`` may have waiting (None: any number may). RunPod
                documented this until April 2025.
        """
        limits = self.limits
        if max_workers is not None and len(self._queue) > max(
            limits.queue_jobs, max_workers * limits.queue_jobs_per_worker
        ):
            raise TooManyRequests(f"{len(self._queue)} jobs wait already; wait until some have ended.")
        now = self._clock()
        job_id = f"{'sync-' if sync else ''}{uuid.uuid4()}-u1"
        job = Job(job_id, request, sync, submitted=now, expires=now + request.ttl_seconds, queued=now)
        self._add(job)
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
            self._touch(job)
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

    def retry(self, job_id: str) -> Document:
        """Queue a job that failed or timed out once more, with the same id and input; what it had made is removed.

        Its time to live goes on from the submission; delay and lost attempts are counted anew (neither is documented).

        Raises:
            UnknownJob: there is none, or its result has expired.
            RetryRefused: it is in another state.
        """
        job = self._get(job_id)
        if job.state not in _RETRIED_STATES:
            raise RetryRefused(f"Only a job that is FAILED or TIMED_OUT can be retried; {job_id} is {job.state}.")
        self._renew(job)
        return {"id": job.id, "status": job.state.value}

    def purge(self) -> Document:
        """Remove every job that waits; those that run stay."""
        purged = list(self._queue)
        for job in purged:
            self._queue.remove(job)
            if self.switches.purged_jobs == "gone":
                self._delete(job)
            else:
                self._finish(job, JobState.CANCELLED, {})
        return {"removed": len(purged), "status": "completed"}

    def drain_stream(self, job_id: str) -> list[Any]:
        """The chunks that nobody has fetched yet. If they do not reach the client, call `return_to_stream`.

        Raises:
            UnknownJob: there is none, or no longer.
        """
        chunks = self._get(job_id).stream.drain()
        if chunks:
            self._changed.add(job_id)
        return chunks

    def return_to_stream(self, job_id: str, chunks: Sequence[Any]) -> None:
        """Keep chunks that did not reach the client for the next one that asks; a job that is gone needs none."""
        if job := self._jobs.get(job_id):
            job.stream.put_back(chunks)
            self._changed.add(job_id)

    def has_stream(self, job_id: str) -> bool:
        """Whether there are chunks to fetch."""
        job = self._jobs.get(job_id)
        return job is not None and bool(job.stream.chunks)

    def is_settled(self, job_id: str) -> bool:
        """Whether there is nothing left to wait for: the job has ended, or is gone."""
        job = self._jobs.get(job_id)
        return job is None or job.state.is_final

    # What it tells about itself.

    def requests(self, count: int) -> Document:
        """The answer of /requests, newest first. The shape is our own; RunPod's is not documented."""
        now = self._clock()
        newest = islice(reversed(self._jobs.values()), count)
        return {"requests": [job.listed_document(now) for job in newest]}

    def health(self, fleet: Mapping[str, str] | None = None) -> Document:
        """The answer of /health. A timed-out job counts as failed, a cancelled one not at all.

        ``fleet`` has the states of the workers that the emulator started itself, by id.
        """
        states = gauges.worker_states(self._presence, self._running.values(), fleet or {})
        return gauges.health(self._totals, self._queue, self._running.values(), states)

    def metrics(self, fleet: Mapping[str, str] | None = None) -> Document:
        """The answer of /metrics, which is not documented; runpod-flash reads these fields of it."""
        states = gauges.worker_states(self._presence, self._running.values(), fleet or {})
        ready = sorted(worker_id for worker_id, state in states.items() if state in gauges.READY_STATES)
        return {**self.health(fleet), "readyWorkers": ready}

    def demand(self) -> Demand:
        """How much there is to do."""
        return gauges.demand_of(self._queue, self._running.values(), self._clock())

    def overview(self, recent: int) -> Document:
        """Queue, counts, and up to ``recent`` jobs in brief: those that run or wait, then the newest that ended."""
        now = self._clock()
        jobs = chain(self._running.values(), self._queue, reversed(self._ended.values()))
        return {
            **gauges.overview(self._totals, self._queue, self._running.values(), now),
            "recent_jobs": gauges.glimpses(jobs, now, recent),
            "job_count": len(self._jobs),
        }

    # What a worker does.

    def jobs_of(self, worker_id: str) -> list[str]:
        """The jobs that the worker has taken and that have not ended."""
        return [job.id for job in self._running.values() if job.is_with(worker_id)]

    def workers(self) -> list[str]:
        """The workers that gave a sign of life within the last ``silent_worker_seconds``."""
        return list(self._presence)

    def unhealthy_workers(self) -> set[str]:
        """Those whose last ping said that a fitness check failed."""
        return self._presence.unhealthy()

    def hear(self, worker_id: str) -> None:
        """Note that the worker gave a sign of life."""
        self._presence.hear(worker_id, self._clock())

    def ping(self, worker_id: str, job_ids: Iterable[str], *, is_unhealthy: bool = False) -> None:
        """A heartbeat: the named jobs are still with this worker."""
        self.hear(worker_id)
        self._presence.judge(worker_id, is_unhealthy=is_unhealthy)
        for job_id in job_ids:
            if job := self._held(worker_id, job_id):
                job.seen = self._clock()

    def take(self, worker_id: str, count: int = 1) -> list[Document]:
        """Hand up to ``count`` jobs to the worker. If they do not reach it, call `give_back`."""
        taken: list[Job] = []
        for job in [job for job in self._again.values() if job.worker_id != worker_id][:count]:
            del self._again[job.id]
            job.second_worker_id = worker_id
            taken.append(job)
        while len(taken) < count and self._queue:
            taken.append(self._start(self._queue.pop(), worker_id))
        has_policy = self.switches.policy_to_worker == "sent"
        return [job.take_document(has_policy=has_policy) for job in taken]

    def has_queued(self) -> bool:
        """Whether a job waits for a worker."""
        return bool(self._queue)

    def has_job_for(self, worker_id: str) -> bool:
        """Whether `take` has something for this worker."""
        return self.has_queued() or any(job.worker_id != worker_id for job in self._again.values())

    def give_again(self, job_id: str) -> None:
        """Hand a running job to a second worker as well, as platforms that deliver at least once do now and then."""
        job = self._running.get(job_id)
        if job is not None and job.second_worker_id is None:
            self._again[job_id] = job

    def give_back(self, worker_id: str, job_ids: Iterable[str]) -> None:
        """Put jobs that never reached the worker at the head of the queue, as if they had not been taken."""
        for job_id in reversed(list(job_ids)):
            job = self._held(worker_id, job_id)
            if job is None:
                continue
            if job.second_worker_id == worker_id:
                job.second_worker_id = None
                self.give_again(job_id)
            else:
                self._requeue(job)

    def take_stops(self, worker_id: str) -> list[str]:
        """The jobs that the worker must stop; each is told once."""
        return self._presence.take_stops(worker_id)

    def has_stops(self, worker_id: str) -> bool:
        """Whether the worker has still to hear of a stop."""
        return self._presence.has_stops(worker_id)

    def stop_all_of(self, worker_id: str) -> None:
        """Tell the worker to stop every job that it runs; their states stay."""
        self._presence.tell_to_stop(worker_id, self.jobs_of(worker_id), self._clock())

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
        job = self._get(job_id)
        result: Document = {name: value for name, value in body.items() if name in {"output", "error"}}
        is_progress = body.get("status") == JobState.IN_PROGRESS
        if not job.is_with(worker_id):
            return is_progress and self._overwrite(job, worker_id, result)
        if is_progress:
            job.seen, job.result = self._clock(), result
            self._touch(job)
            return True
        if self.switches.error_value == "text" and not isinstance(result.get("error", ""), str):
            result["error"] = json.dumps(result["error"], ensure_ascii=False)
        job.worker_id = worker_id
        self._finish(job, JobState.FAILED if body.get("error") else JobState.COMPLETED, result)
        return True

    def add_to_stream(self, worker_id: str, job_id: str, output: object) -> bool:
        """Something that the handler has yielded; False if the job is not with this worker.

        Raises:
            UnknownJob: there is none, or no longer.
            InvalidRequest: it is larger than a chunk and is no text, which could be split.
        """
        chunks = chunks_of(output, self.limits.stream_chunk_bytes)
        job = self._get(job_id)
        if not job.is_with(worker_id):
            return False
        job.stream.chunks.extend(chunks)
        job.seen = self._clock()
        self._touch(job)
        return True

    def refuse_result(self, worker_id: str, job_id: str) -> None:
        """A result that is too large or not JSON: the platform answers 400 and shows COMPLETED without output.

        Seen in runpod-workers/worker-comfyui issues 129 and 167.
        """
        if job := self._held(worker_id, job_id):
            self._finish(job, JobState.COMPLETED, {})

    def forget_worker(self, worker_id: str) -> None:
        """The worker is gone, or has been silent for too long. Its jobs stay with it until they count as lost."""
        self._presence.forget(worker_id)
