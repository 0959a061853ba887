"""A store of batches on each of the two databases, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from comfypod.batch.store import BatchStore
from comfypod.batch.store.schema import METADATA, VERSION
from tests.batch.coordinator.making import Clock
from tests.postgres_server import PostgresServer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def batch_postgres_url() -> Iterator[str]:
    """The address of a database that has the tables, and is used by one test after another."""
    with PostgresServer(syncs=False) as server:
        url = server.create_database()
        BatchStore.migrate(url)
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'batches.sqlite'}"
    BatchStore.migrate(url)
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def both_urls(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    url = str(request.getfixturevalue("batch_postgres_url"))
    store = BatchStore.open(url)
    with store._database.write() as connection:
        for table in METADATA.sorted_tables:
            if table is not VERSION:
                connection.execute(sa.delete(table))
    store.close()
    return url


@pytest.fixture
def store(sqlite_url: str, clock: Clock) -> Iterator[BatchStore]:
    opened = BatchStore.open(sqlite_url, clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def both(both_urls: str, clock: Clock) -> Iterator[BatchStore]:
    """A store on SQLite, and once more on Postgres."""
    opened = BatchStore.open(both_urls, clock=clock)
    yield opened
    opened.close()
