"""Makes the tables, and brings those of an older version up to this one's."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa

from comfypod.errors import StoreOutdated
from comfypod.master.fairness import PRIORITIES
from comfypod.master.store.database import Database, prepare_file
from comfypod.master.store.schema import METADATA, TURNSTILE, VERSION

# What leads from each version to the next: statements that both databases know. The first version is the schema
# module's; one that changes a table adds its statements here under its own number.
STEPS: Final[dict[int, tuple[str, ...]]] = {}
NEWEST: Final = 1 + len(STEPS)
_LOCK: Final = 7092024  # any number, the same in all programs that migrate


def migrate(database: Database, steps: dict[int, tuple[str, ...]] = STEPS) -> int:
    """Make or change the tables, in one transaction; several programs may do it at the same time.

    Returns:
        The version that the tables were of, 0 if there were none.

    Raises:
        StoreOutdated: they are newer than this program.
        StoreUnavailable: the database does not answer, or has no room.
    """
    prepare_file(database)
    newest = 1 + len(steps)
    with database.write() as connection:
        if not database.is_sqlite:  # SQLite's BEGIN IMMEDIATE lets nobody else in
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        found = version_of(connection)
        if found > newest:
            raise StoreOutdated(found, newest)
        if found == 0:
            _create(connection, newest)
        for number in range(found + 1, newest + 1) if found else ():
            for statement in steps[number]:
                connection.exec_driver_sql(statement)
            connection.execute(sa.update(VERSION).values(version=number))
    return found


def check(database: Database) -> None:
    """Refuse tables of another version.

    Raises:
        StoreOutdated: they are; ``comfypod master migrate`` is to be run, or this program updated.
        StoreUnavailable: the database does not answer.
    """
    found = 0
    if not database.is_sqlite or Path(database.url.database or "").exists():  # SQLite would make an empty one
        with database.read() as connection:
            found = version_of(connection)
    if found != NEWEST:
        raise StoreOutdated(found, NEWEST)


def version_of(connection: sa.Connection) -> int:
    """The version of the tables; 0 if there are none."""
    if not sa.inspect(connection).has_table(VERSION.name):
        return 0
    return connection.scalar(sa.select(VERSION.c.version)) or 0


def _create(connection: sa.Connection, version: int) -> None:
    METADATA.create_all(connection)
    connection.execute(sa.insert(VERSION).values(version=version))
    connection.execute(sa.insert(TURNSTILE).values(id=1, **dict.fromkeys(PRIORITIES, 0)))
