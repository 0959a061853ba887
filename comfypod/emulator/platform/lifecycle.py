"""How a job's state changes, and what time alone does to it. Pure: no I/O and no clock of its own.

The server calls `JobLifecycle.sweep` a few times a second, because jobs also end when nobody calls: they time out, get
lost with their worker, or are forgotten. Every change is remembered until `take_changes`, for whoever keeps the jobs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from comfypod.emulator.platform.deadlines import Deadlines
from comfypod.emulator.platform.job import LOST_JOB_ERROR, Document, Job, JobState, UnknownJob
from comfypod.emulator.platform.presence import Presence
from comfypod.emulator.platform.queue import JobQueue
from comfypod.emulator.platform.requests import Limits
from comfypod.emulator.platform.switches import Switches


@dataclass(frozen=True, slots=True)
class Notice:
    """A webhook that must be told of a job's end."""

    job_id: str
    url: str
    document: Document


class JobLifecycle:
    """Jobs by their states. Not thread-safe; ``clock`` gives seconds that only grow."""

    def __init__(
        self, clock: Callable[[], float], limits: Limits | None = None, switches: Switches | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.switches = switches or Switches()
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._queue = JobQueue()
        self._running: dict[str, Job] = {}
        self._ended: dict[str, Job] = {}  # in the order in which they ended
        self._again: dict[str, Job] = {}  # running ones that a planned fault gives to a second worker
        self._presence = Presence()
        self._deadlines = Deadlines()
        # Totals since the start, as /health reports them; retention does not lower them.
        self._totals: dict[str, int] = {"completed": 0, "failed": 0, "retried": 0, "cancelled": 0}
        self._changed: set[str] = set()
        self._notices: list[Job] = []
        # Webhooks under way: a job that was retried may end again while its first end is still being told.
        self._telling: Counter[str] = Counter()

    # What keeps the jobs over restarts.

    def restore(self, jobs: Iterable[Job], totals: Mapping[str, int]) -> None:
        """Go on with the jobs of an earlier process; this one must have none.

        A running job gets the whole time of a lost one to be heard of: its worker may have outlived the emulator.
        """
        self._totals.update(totals)
        waiting = []
        for job in sorted(jobs, key=lambda job: job.submitted):
            self._jobs[job.id] = job
            if job.state is JobState.IN_QUEUE:
                waiting.append(job)
            elif job.is_running:
                job.seen = self._clock()
                self._running[job.id] = job
            self._deadlines.note(job.due(self.limits), job.id)
            if job.is_webhook_due:
                self._notices.append(job)
        self._queue.restore(waiting)
        ended = [job for job in self._jobs.values() if job.finished is not None]
        self._ended = {job.id: job for job in sorted(ended, key=lambda job: job.finished or 0.0)}

    def take_changes(self) -> dict[str, Job | None]:
        """The jobs that changed since the last call, by id; None: it is gone."""
        changed, self._changed = self._changed, set()
        return {job_id: self._jobs.get(job_id) for job_id in changed}

    @property
    def totals(self) -> Mapping[str, int]:
        """How many jobs ended how, since the first start."""
        return self._totals

    def take_notices(self) -> list[Notice]:
        """The webhooks of the jobs that ended since the last call. Say `webhook_ended` when one is dealt with."""
        ended, self._notices = self._notices, []
        self._telling.update(job.id for job in ended)
        now = self._clock()
        return [Notice(job.id, job.request.webhook, job.webhook_document(now)) for job in ended if job.request.webhook]

    def webhook_ended(self, job_id: str) -> None:
        """The job's webhook was delivered, or given up: one of them, if several of its ends are being told."""
        self._telling[job_id] -= 1
        if self._telling[job_id] > 0:
            return
        del self._telling[job_id]
        if job := self._jobs.get(job_id):
            job.is_webhook_due = False
            self._changed.add(job_id)

    # What time does.

    def sweep(self) -> bool:
        """Apply every limit that depends on time; True if a job changed."""
        now = self._clock()
        self._presence.forget_silent(now - self.limits.silent_worker_seconds)
        has_changed = False
        for job_id in self._deadlines.passed(now):
            if job := self._jobs.get(job_id):
                due = job.due(self.limits)
                if due > now:
                    self._deadlines.note(due, job_id)
                else:
                    self._meet_deadline(job, now)
                    has_changed = True
        return has_changed

    def _meet_deadline(self, job: Job, now: float) -> None:
        if job.finished is not None or now >= job.expires:
            self._withdraw(job)
            self._delete(job)
        elif job.started is not None and now >= job.started + job.request.execution_seconds:
            self._withdraw(job)
            self._finish(job, JobState(self.switches.execution_timeout), {})
        elif job.retries:
            self._finish(job, JobState.FAILED, {"error": LOST_JOB_ERROR})
        else:
            job.retries += 1
            self._totals["retried"] += 1
            self._requeue(job)

    # From state to state.

    def _add(self, job: Job) -> None:
        self._jobs[job.id] = job
        self._queue.append(job)
        self._touch(job)

    def _start(self, job: Job, worker_id: str) -> Job:
        now = self._clock()
        job.state, job.worker_id, job.started, job.seen = JobState.IN_PROGRESS, worker_id, now, now
        self._running[job.id] = job
        self._touch(job)
        return job

    def _requeue(self, job: Job) -> None:
        """Back to the head of the queue, as if it had never been taken."""
        self._leave(job)
        self._reset(job)
        self._queue.put_first(job)
        self._touch(job)

    def _renew(self, job: Job) -> None:
        """Back to the end of the queue, after it ended."""
        del self._ended[job.id]
        job.queued, job.finished, job.retries, job.is_webhook_due = self._clock(), None, 0, False
        self._totals["retried"] += 1
        self._reset(job)
        job.stream.drain()
        self._queue.append(job)
        self._touch(job)

    def _reset(self, job: Job) -> None:
        job.state, job.started, job.result = JobState.IN_QUEUE, None, {}
        job.worker_id = job.second_worker_id = None

    def _withdraw(self, job: Job) -> None:
        """Take the job out of the queue, or have its workers told to stop it."""
        if job.state is JobState.IN_QUEUE:
            self._queue.remove(job)
        elif job.is_running:
            for worker_id in (job.worker_id, job.second_worker_id):
                if worker_id is not None:
                    self._presence.tell_to_stop(worker_id, [job.id], self._clock())

    def _finish(self, job: Job, state: JobState, result: Document) -> None:
        self._leave(job)
        job.state, job.result, job.finished = state, result, self._clock()
        self._ended[job.id] = job
        counted = {JobState.COMPLETED: "completed", JobState.CANCELLED: "cancelled"}
        self._totals[counted.get(state, "failed")] += 1
        if job.request.webhook and self._is_told(state):
            job.is_webhook_due = True
            self._notices.append(job)
        self._touch(job)

    def _is_told(self, state: JobState) -> bool:
        switch = {
            JobState.CANCELLED: self.switches.cancelled_webhook,
            JobState.TIMED_OUT: self.switches.timed_out_webhook,
        }
        return switch.get(state) != "unsent"

    def _overwrite(self, job: Job, worker_id: str, result: Document) -> bool:
        """Progress after the result, as in runpod-python issue 250: the job shows it, and never ends again."""
        has_ended = job.state in {JobState.COMPLETED, JobState.FAILED} and job.worker_id == worker_id
        if self.switches.late_progress != "overwrites" or not has_ended:
            return False
        job.state, job.result = JobState.IN_PROGRESS, result
        self._touch(job)
        return True

    def _delete(self, job: Job) -> None:
        self._leave(job)
        self._ended.pop(job.id, None)
        del self._jobs[job.id]
        self._deadlines.forget(job.id)
        self._changed.add(job.id)

    def _leave(self, job: Job) -> None:
        """No worker has it any more."""
        self._running.pop(job.id, None)
        self._again.pop(job.id, None)

    def _touch(self, job: Job) -> None:
        self._changed.add(job.id)
        self._deadlines.note(job.due(self.limits), job.id)

    # Which job is meant.

    def _get(self, job_id: str) -> Job:
        try:
            return self._jobs[job_id]
        except KeyError:
            raise UnknownJob(job_id) from None

    def _held(self, worker_id: str, job_id: str) -> Job | None:
        """The job, if this worker has it and it has not ended."""
        job = self._jobs.get(job_id)
        return job if job is not None and job.is_with(worker_id) else None
