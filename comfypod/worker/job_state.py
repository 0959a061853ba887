"""What is known of a job so far: for its next step, for another try, and for the answer of one that fails."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfypod.deadline import Deadline
from comfypod.schema.job import JobInput, idempotency_key_of
from comfypod.schema.output import Account, Outputs, Timings
from comfypod.schema.workflow import Workflow
from comfypod.settings import Settings
from comfypod.worker.delivery import Ways
from comfypod.worker.progress import ProgressTracker

SEED_BITS = 32
"""Of a drawn seed: every node takes it, and JavaScript reads it exactly."""


class JobState:
    """One job between its arrival and its answer. ``kept`` is what a failed job had saved, if it asked for that."""

    def __init__(self, job: Mapping[str, Any], settings: Settings) -> None:
        self.job = job
        self.job_id = str(job["id"])
        self.deadline = Deadline.after(settings.job_timeout_seconds)
        self.warnings: list[str] = []
        self.seeds: dict[str, int] = {}
        self.tracker: ProgressTracker | None = None
        self.kept: Outputs | None = None
        self._longest_seconds = settings.job_timeout_seconds

    def accept(self) -> JobInput:
        """Check the input; from now on its own deadline counts, and its warnings are told.

        Raises:
            InvalidJobInput: every problem at once.
        """
        request = JobInput.parse(self.job.get("input"))
        self.warnings += request.warnings()
        wanted, longest = request.timeout_seconds, self._longest_seconds
        if wanted is not None:
            self.deadline = Deadline.after(min(wanted, longest))
            if wanted > longest:
                self.warnings.append(f"timeout_seconds: {wanted:g} is more than this worker allows; {longest:g} counts")
        return request

    def draw_seed(self, name: str) -> int:
        """The random seed of that name: drawn once for the job, told in its answer."""
        return self.seeds.setdefault(name, secrets.randbits(SEED_BITS))

    def warn(self, sentence: str) -> None:
        """Tell the caller, once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def account(self) -> Account:
        """Where the time went as far as the job came, the seeds, the warnings, and the caller's name for the job."""
        timings = self.tracker.timings() if self.tracker else Timings()
        return Account(timings, self.seeds, self.warnings, idempotency_key_of(self.job.get("input")))


@dataclass(frozen=True, slots=True)
class AcceptedJob:
    """A job whose input is valid; ``workflow`` is None for one that ComfyUI's page saved, until a ComfyUI is there.

    ``arrival`` is its place among all jobs that have come to this worker.
    """

    state: JobState
    request: JobInput
    workflow: Workflow | None
    tracker: ProgressTracker
    ways: Ways
    arrival: int
