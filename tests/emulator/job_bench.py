"""The state of an emulated endpoint on a clock that the test moves: what the tests of it share."""

from __future__ import annotations

from typing import Any

from comfypod.emulator.platform.jobs import EndpointJobs
from comfypod.emulator.platform.requests import JobRequest, Limits
from comfypod.emulator.platform.switches import Switches


class Bench:
    """An endpoint and its clock."""

    def __init__(self, limits: Limits | None = None, **switches: Any) -> None:
        self.now = 1000.0
        self.jobs = EndpointJobs(lambda: self.now, limits, Switches(**switches))

    def submit(self, *, sync: bool = False, **body: object) -> str:
        document = {"input": {"n": 1}, **body}
        return self.jobs.submit(JobRequest.parse(document, self.jobs.limits), sync=sync).id

    def run(self, worker_id: str = "w1", **body: object) -> str:
        """Submit a job, and have the worker take it."""
        job_id = self.submit(**body)
        assert [job["id"] for job in self.jobs.take(worker_id)] == [job_id]
        return job_id

    def end(self, ending: dict[str, object], **body: object) -> str:
        """A job that has ended so."""
        job_id = self.run(**body)
        assert self.jobs.report("w1", job_id, ending)
        return job_id

    def after(self, seconds: float) -> bool:
        self.now += seconds
        return self.jobs.sweep()

    def state(self, job_id: str) -> str:
        return self.jobs.status(job_id)["status"]
