"""Makes tables, and brings those of an older version up to this one's; also those of others in the same database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
_LOCK: Final = 7092024  # any number, the same in all programs that migrate


@dataclass(frozen=True, slots=True)
class Tables:
    """Tables that have one version together.

    Args:
        version: the one that holds it, in a row with the column ``version``.
        fill: writes what must be there from the beginning.
        made_by: what makes or changes them, as a message names it.
    """

    metadata: sa.MetaData
    version: sa.Table
    fill: Callable[[sa.Connection], object]
    made_by: str


def _fill(connection: sa.Connection) -> None:
    connection.execute(sa.insert(TURNSTILE).values(id=1, **dict.fromkeys(PRIORITIES, 0)))


REQUEST_TABLES: Final = Tables(METADATA, VERSION, _fill, "comfypod master migrate --database URL")


def migrate(database: Database, steps: Mapping[int, tuple[str, ...]] = STEPS, tables: Tables = REQUEST_TABLES) -> int:
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
        found = version_of(connection, tables)
        if found > newest:
            raise StoreOutdated(found, newest, tables.made_by)
        if found == 0:
            tables.metadata.create_all(connection)
            connection.execute(sa.insert(tables.version).values(version=newest))
            tables.fill(connection)
        for number in range(found + 1, newest + 1) if found else ():
            for statement in steps[number]:
                connection.exec_driver_sql(statement)
            connection.execute(sa.update(tables.version).values(version=number))
    return found


def check(database: Database, steps: Mapping[int, tuple[str, ...]] = STEPS, tables: Tables = REQUEST_TABLES) -> None:
    """Refuse tables of another version.

    Raises:
        StoreOutdated: they are; they are to be made or changed, or this program is to be updated.
        StoreUnavailable: the database does not answer.
    """
    newest = 1 + len(steps)
    found = 0
    if not database.is_sqlite or Path(database.url.database or "").exists():  # SQLite would make an empty one
        with database.read() as connection:
            found = version_of(connection, tables)
    if found != newest:
        raise StoreOutdated(found, newest, tables.made_by)


def version_of(connection: sa.Connection, tables: Tables = REQUEST_TABLES) -> int:
    """The version of the tables; 0 if there are none."""
    if not sa.inspect(connection).has_table(tables.version.name):
        return 0
    return connection.scalar(sa.select(tables.version.c.version)) or 0
