"""A store on each of the two databases, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from comfypod.master.documents import NewRequest, Notification
from comfypod.master.store import Store
from comfypod.master.store.schema import METADATA, TURNSTILE, VERSION
from tests.postgres_server import PostgresServer


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **span: float) -> None:
        self.now += timedelta(**span)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer(syncs=False) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'store.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def database_url(empty_url: str) -> str:
    """The address of a database with the tables of this version."""
    Store.migrate(empty_url)
    return empty_url


@pytest.fixture(scope="session")
def shared_postgres_url(postgres: PostgresServer) -> str:
    """The address of a database that has the tables, and is used by one test after another."""
    url = postgres.create_database()
    Store.migrate(url)
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database with empty tables: quicker to have than a new one."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'store.db'}"
        Store.migrate(url)
        return url
    url = str(request.getfixturevalue("shared_postgres_url"))
    store = Store.open(url)
    with store.engine.begin() as connection:
        for table in METADATA.sorted_tables:
            if table is not VERSION:
                connection.execute(sa.delete(table))
        connection.execute(sa.insert(TURNSTILE).values(id=1, high=0, normal=0, low=0))
    store.close()
    return url


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_store(store_url: str, clock: Clock) -> Iterator[Callable[..., Store]]:
    """Opens the same database again, as another process would."""
    opened: list[Store] = []

    def open_one(**options: Any) -> Store:
        opened.append(Store.open(store_url, clock=clock, **options))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., Store]) -> Store:
    return open_store()


@pytest.fixture
def ask(clock: Clock) -> Callable[..., NewRequest]:
    """Makes a request, a millisecond after the last one; keys are in that order."""

    def make(idempotency_key: str = "order-1", **fields: Any) -> NewRequest:
        clock.pass_by(milliseconds=1)
        given: dict[str, Any] = {"tenant": "acme", "user": "ann", "job_input": {"prompt": "a fox"}}
        given["notify"] = (Notification("webhook", {"url": "https://acme.test/hook"}),)
        return NewRequest(idempotency_key=idempotency_key, **(given | fields))

    return make
