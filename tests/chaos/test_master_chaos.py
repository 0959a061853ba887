"""What the service promises, under fire: every request is answered once, whatever dies in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.conductor import endure
from tests.chaos.plan import Plan, Report
from tests.postgres_server import PostgresServer
from tests.s3_server import S3Server


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


def assert_kept(report: Report, plan: Plan) -> None:
    """What is promised, of a run that had its share of deaths. Few requests say little of the share of GPU runs."""
    told = "\n".join(report.lines())
    assert report.nothing_lost_or_doubled, told
    assert not report.crashes, told
    assert not report.left, told
    assert report.needless_runs <= 0.05 * plan.requests, told
    assert report.kills.total() >= 0.75 * plan.kills, told


async def test_nothing_is_lost_or_doubled_with_one_master_and_sqlite(tmp_path: Path, s3_server: S3Server) -> None:
    plan = Plan(requests=50, kills=13)
    report = await endure(plan, tmp_path, f"sqlite:///{tmp_path / 'master.db'}", s3_server.environment)
    assert_kept(report, plan)


async def test_nothing_is_lost_or_doubled_with_two_masters_and_postgres(
    tmp_path: Path, s3_server: S3Server, postgres: PostgresServer
) -> None:
    plan = Plan(requests=36, kills=9, masters=2, bots=2, seed=2)
    report = await endure(plan, tmp_path, postgres.create_database(), s3_server.environment)
    assert_kept(report, plan)


async def test_without_its_precautions_the_same_service_doubles(tmp_path: Path, s3_server: S3Server) -> None:
    """Workers that look for nothing, and a chat that does not know its messages again: so the others can fail."""
    plan = Plan(requests=24, kills=0, share_doubled=0.3, share_unheard=0.5, dedupes=False, keeps_nonces=False, seed=3)
    report = await endure(plan, tmp_path, f"sqlite:///{tmp_path / 'master.db'}", s3_server.environment)
    assert report.doubled, report.lines()
    assert report.needless_runs > 0.05 * plan.requests, report.lines()
