"""The client's promise, under fire: every job ends, none is lost, none is posted twice."""

from __future__ import annotations

from pathlib import Path

from tests.system.chaos import Plan, endure


def test_no_job_is_lost_or_doubled_while_everything_is_killed(tmp_path: Path) -> None:
    plan = Plan(jobs=40, concurrency=12, max_workers=2, seconds_between_kills=4.0, share_of_emulator_kills=0.4)
    report = endure(plan, tmp_path)
    log = (tmp_path / "log").read_text(encoding="utf-8")[-4000:]
    assert report.is_good(plan.jobs), f"{report}\n{log}"
    assert report.worker_kills + report.emulator_kills > 0
    assert report.outcomes["completed"] >= plan.jobs * 0.6
