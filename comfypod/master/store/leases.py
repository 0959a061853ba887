"""Who does something that only one may do at a time, which masters are alive, and secrets that all share."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from comfypod.errors import StoreUnavailable
from comfypod.master.records import Master
from comfypod.master.store.schema import LEASES, MASTERS, SECRETS
from comfypod.master.store.section import Section

SECRET_BYTES = 32


class Leases(Section):
    """What processes agree on. Their clocks must agree to about a second."""

    def hold(self, name: str, owner: str, seconds: float) -> bool:
        """Hold a name for so long from now on, or hold it on; false if somebody else does."""
        now = self._clock()
        statement = self._insert(LEASES).values(name=name, owner=owner, until=now + timedelta(seconds=seconds))
        taken = statement.on_conflict_do_update(
            index_elements=["name"],
            set_={"owner": statement.excluded.owner, "until": statement.excluded.until},
            where=sa.or_(LEASES.c.owner == owner, LEASES.c.until <= now),
        )
        with self._database.write() as connection:
            # Not by rowcount, which psycopg does not give for this statement.
            return connection.scalar(taken.returning(LEASES.c.owner)) is not None

    def let_go(self, name: str, owner: str) -> None:
        """Hold it no longer; nothing happens if somebody else does."""
        with self._database.write() as connection:
            connection.execute(sa.delete(LEASES).where(LEASES.c.name == name, LEASES.c.owner == owner))

    def holder(self, name: str) -> str | None:
        """Who holds it at this moment."""
        query = sa.select(LEASES.c.owner).where(LEASES.c.name == name, LEASES.c.until > self._clock())
        with self._database.read() as connection:
            owner: str | None = connection.scalar(query)
        return owner

    def beat(self, name: str, version: str, pid: int, instance: str) -> str | None:
        """A master is alive; a new instance of a name takes the old one's place.

        Returns:
            What somebody wants it to do, since its instance began: "drain".
        """
        now = self._clock()
        row = {"version": version, "pid": pid, "instance": instance, "beat_at": now}
        statement = self._insert(MASTERS).values(name=name, started_at=now, **row)
        is_same = MASTERS.c.instance == instance
        newest = statement.on_conflict_do_update(
            index_elements=["name"],
            set_={
                **row,
                "started_at": sa.case((is_same, MASTERS.c.started_at), else_=statement.excluded.started_at),
                "wish": sa.case((is_same, MASTERS.c.wish), else_=None),
            },
        )
        with self._database.write() as connection:
            wish: str | None = connection.scalar(newest.returning(MASTERS.c.wish))
        return wish

    def ask_masters(self, wish: str | None, name: str | None = None) -> int:
        """Want something of a master, or of all; they hear it with their next beat. Returns how many there are."""
        statement = sa.update(MASTERS).values(wish=wish)
        with self._database.write() as connection:
            return connection.execute(statement if name is None else statement.where(MASTERS.c.name == name)).rowcount

    def leave(self, name: str, instance: str) -> None:
        """A master ends, and whatever it had may be taken over at once; nothing happens if another took its place."""
        with self._database.write() as connection:
            connection.execute(sa.delete(MASTERS).where(MASTERS.c.name == name, MASTERS.c.instance == instance))

    def masters(self) -> list[Master]:
        """All that have not left, by name, also those that are silent."""
        with self._database.read() as connection:
            return [_master(row) for row in connection.execute(sa.select(MASTERS).order_by(MASTERS.c.name))]

    def secret(self, name: str) -> bytes:
        """A secret that all processes share: drawn once, when it is first asked for."""
        query = sa.select(SECRETS.c.value).where(SECRETS.c.name == name)
        with self._database.read() as connection:
            value: bytes | None = connection.scalar(query)
        if value is None:
            drawn = self._insert(SECRETS).values(name=name, value=secrets.token_bytes(SECRET_BYTES))
            with self._database.write() as connection:
                connection.execute(drawn.on_conflict_do_nothing())
                value = connection.scalar(query)
        if value is None:
            raise StoreUnavailable(f"the secret {name!r} was written and is not there")
        return bytes(value)


def _master(row: sa.Row[Any]) -> Master:
    return Master(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public name for it)
