"""One database, SQLite or Postgres: short transactions, each with an end, and its faults as ours.

SQLite: https://www.sqlite.org/wal.html and lang_transaction.html. A transaction that writes begins with BEGIN
IMMEDIATE, for one that first reads and then wants to write is refused at once ("database is locked") where another has
written in between, whatever the busy timeout.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from comfypod.errors import ConfigurationError, InvalidRequest, StoreUnavailable

WAIT_SECONDS: Final = 30  # for a lock, a statement or a free connection
CONNECT_SECONDS: Final = 10
CONNECTIONS: Final = 8  # at most, of one process; Postgres takes 100 by default
CACHED_STATEMENTS: Final = 32
SQLITE_BYTES: Final = 4 * 1024**2
"""About what SQLite keeps of the file in memory: each of some twenty connections would keep 2 MiB."""
_READS: Final = {"comfypod_reads": True}
# Bugs of ours, or facts that the caller looks for; every other fault of a database is one of its being there.
_OURS: Final = (IntegrityError, ProgrammingError)


class Database:
    """Gives connections within a transaction."""

    def __init__(self, url: str) -> None:
        self.url = _checked_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(self.url) if self.is_sqlite else _postgres_engine(self.url)
        self._reader = self.engine.execution_options(**_READS)

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        with _faults_as_ours(), self._reader.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that writes all of it, or nothing.

        Raises:
            StoreUnavailable: the database does not answer, or has no room.
        """
        with _faults_as_ours(), self.engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """End its connections."""
        self.engine.dispose()


def _checked_url(text: str) -> sa.URL:
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError as error:
        raise ConfigurationError(["The database is given as sqlite:///FILE or postgresql://…"]) from error
    if url.get_backend_name() == "sqlite" and url.database and ":memory:" not in url.database:
        return url
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    raise ConfigurationError(["The database is given as sqlite:///FILE or postgresql://…"])


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(
        url,
        hide_parameters=True,  # they may be secrets of a front end
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=WAIT_SECONDS,
        pool_use_lifo=True,  # few connections do most of the work: each keeps statements and pages of its own
        connect_args={"timeout": WAIT_SECONDS, "cached_statements": CACHED_STATEMENTS},
    )

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, record: object) -> None:  # noqa: ANN401, ARG001 (sqlite3's)
        connection.isolation_level = None  # the driver begins no transactions: the next function does
        connection.execute("PRAGMA synchronous=FULL")  # what was committed is there after a power cut, too
        connection.execute(f"PRAGMA soft_heap_limit={SQLITE_BYTES}")  # of the process, for DBOS's connections as well
        connection.execute("PRAGMA journal_mode=WAL")  # readers do not wait for the writer; once set, the file keeps it

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        reads = connection.get_execution_options().get("comfypod_reads")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _postgres_engine(url: sa.URL) -> sa.Engine:
    milliseconds = WAIT_SECONDS * 1000
    settings = {
        "statement_timeout": milliseconds,
        "lock_timeout": milliseconds,
        "idle_in_transaction_session_timeout": 2 * milliseconds,
    }
    return sa.create_engine(
        url,
        hide_parameters=True,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=WAIT_SECONDS,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "tcp_user_timeout": milliseconds,
            "application_name": "comfypod",
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        },
    )


def prepare_file(database: Database) -> None:
    """Make SQLite's file, if there is none, readable by its owner alone.

    Raises:
        StoreUnavailable: it cannot be made.
    """
    if not database.is_sqlite or database.url.database is None:
        return
    try:
        os.close(os.open(Path(database.url.database), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"{database.url.database}: {error.strerror}") from error


@contextlib.contextmanager
def _faults_as_ours() -> Iterator[None]:
    try:
        yield
    except _OURS:
        raise
    except DBAPIError as error:
        raise StoreUnavailable(_first_line(error.orig)) from error
    except StatementError as error:  # a column refused its value
        if isinstance(error.orig, InvalidRequest):
            raise error.orig from error
        raise
    except PoolTimeout as error:
        raise StoreUnavailable(f"no connection became free within {WAIT_SECONDS} s") from error


def _first_line(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
