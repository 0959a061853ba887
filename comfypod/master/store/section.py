"""What all parts of the store have: the database and a clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from comfypod.master.store.database import Database

Clock = Callable[[], datetime]
Insert = postgresql.Insert | sqlite.Insert


def utc_now() -> datetime:
    """The clock of everything but tests."""
    return datetime.now(UTC)


def insert(database: Database, table: sa.Table) -> Insert:
    """An INSERT that knows ON CONFLICT, which either database spells alike, and SQLAlchemy apart."""
    return sqlite.insert(table) if database.is_sqlite else postgresql.insert(table)


class Section:
    """One part of the store's methods."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def _insert(self, table: sa.Table) -> Insert:
        """An INSERT that knows ON CONFLICT."""
        return insert(self._database, table)
