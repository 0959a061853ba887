"""What an endpoint remembers after many jobs, and when it looks at which again."""

from __future__ import annotations

import pytest

from comfypod.emulator.platform.deadlines import Deadlines
from comfypod.emulator.platform.jobs import EndpointJobs, UnknownJob
from comfypod.emulator.platform.requests import JobRequest


class Bench:
    """An endpoint and its clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.jobs = EndpointJobs(lambda: self.now)

    def run(self, worker_id: str = "w1") -> str:
        """Submit a job, and have the worker take it."""
        job_id = self.jobs.submit(JobRequest.parse({"input": {"n": 1}}, self.jobs.limits)).id
        assert [job["id"] for job in self.jobs.take(worker_id)] == [job_id]
        return job_id

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.jobs.sweep()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_sweep_is_told_of_a_job_at_its_moment_and_not_before() -> None:
    """It runs ten times a second, so it must not look at every job of the last half hour."""
    deadlines = Deadlines()
    for moment, job_id in ((30.0, "late"), (10.0, "early"), (20.0, "moved"), (25.0, "moved"), (9.0, "gone")):
        deadlines.note(moment, job_id)
    deadlines.forget("gone")
    assert list(deadlines.passed(9.9)) == []
    assert list(deadlines.passed(24.0)) == ["early"]
    assert list(deadlines.passed(25.0)) == ["moved"]
    assert list(deadlines.passed(30.0)) == ["late"]


def test_jobs_that_are_gone_leave_no_deadline_behind(bench: Bench) -> None:
    """Each could have lived for a day, which is no reason to remember it for one."""
    for _ in range(300):
        job_id = bench.run()
        bench.jobs.report("w1", job_id, {"output": 1})
        bench.after(1800)
        with pytest.raises(UnknownJob):
            bench.jobs.status(job_id)
    assert len(bench.jobs._deadlines) < 100


def test_progress_leaves_no_deadlines_behind(bench: Bench) -> None:
    job_id = bench.run()
    for number in range(1000):
        bench.now += 0.01
        bench.jobs.report("w1", job_id, {"status": "IN_PROGRESS", "output": number})
    assert len(bench.jobs._deadlines) < 100


def test_stops_for_a_worker_that_never_comes_back_are_forgotten(bench: Bench) -> None:
    job_id = bench.run("gone")
    bench.after(31)
    bench.jobs.cancel(job_id)
    assert bench.jobs.has_stops("gone"), "it may only have been silent"
    bench.after(29)
    assert bench.jobs.has_stops("gone")
    bench.after(1)
    assert not bench.jobs.has_stops("gone")
