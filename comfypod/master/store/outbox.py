"""What must still be told to somebody: written with a request's end, and taken under a lease until it is told."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from comfypod.errors import DeadLetterNotFound
from comfypod.master.documents import OutboxItem, Request
from comfypod.master.store.schema import OUTBOX
from comfypod.master.store.section import Section

MAXIMUM_TRIES: Final = 12
_IS_OPEN: Final = sa.and_(OUTBOX.c.delivered_at.is_(None), OUTBOX.c.dead_at.is_(None))
_SHOWN: Final = tuple(column for column in OUTBOX.c if column.name != "owner")


def put(connection: sa.Connection, request: Request, now: datetime) -> None:
    """Have everybody told that a request has ended, within the transaction that ends it."""
    rows = [
        {
            "identifier": f"{request.workflow_id}-{number}",
            "key": request.key,
            "tenant": request.tenant,
            "kind": item.kind,
            "event": f"request.{request.state}",
            "target": item.target,
            "attempts": 0,
            "created_at": now,
            "due_at": now,
        }
        for number, item in enumerate(request.notify)
    ]
    if rows:
        connection.execute(sa.insert(OUTBOX), rows)


class Outbox(Section):
    """What the senders do."""

    def claim(self, kind: str, owner: str, seconds: float, limit: int = 10) -> list[OutboxItem]:
        """Take what is due, the oldest first; after ``seconds`` another sender may take what was not delivered.

        What was taken MAXIMUM_TRIES times without a word is given up.
        """
        now = self._clock()
        due = sa.and_(OUTBOX.c.kind == kind, _IS_OPEN, OUTBOX.c.due_at <= now)
        with self._database.read() as connection:  # which takes no lock, and most often there is nothing
            if connection.execute(sa.select(OUTBOX.c.identifier).where(due).limit(1)).first() is None:
                return []
        with self._database.write() as connection:
            chosen = sa.select(OUTBOX.c.identifier, OUTBOX.c.attempts).where(due).order_by(OUTBOX.c.due_at).limit(limit)
            found = connection.execute(chosen.with_for_update(skip_locked=True)).all()
            _bury(connection, [row.identifier for row in found if row.attempts >= MAXIMUM_TRIES], now)
            mine = [row.identifier for row in found if row.attempts < MAXIMUM_TRIES]
            taken = connection.execute(
                sa.update(OUTBOX)
                .where(OUTBOX.c.identifier.in_(mine))
                .values(owner=owner, due_at=now + timedelta(seconds=seconds), attempts=OUTBOX.c.attempts + 1)
                .returning(*_SHOWN)
            ).all()
        return sorted((_item(row) for row in taken), key=lambda item: item.created_at)

    def delivered(self, item: OutboxItem) -> None:
        """It was told; whoever holds it now, for it is true."""
        self._end(item, delivered_at=self._clock(), dead_at=None, cause=None)

    def postpone(self, item: OutboxItem, seconds: float, cause: str) -> bool:
        """It could not be told; try again after ``seconds``.

        Returns:
            False if this was its last try: it is among the dead letters now.
        """
        if item.attempts >= MAXIMUM_TRIES:
            self.give_up(item, cause)
            return False
        due_at = self._clock() + timedelta(seconds=seconds)
        with self._database.write() as connection:
            # Only by who took it last: another may be telling it at this moment.
            mine = sa.and_(OUTBOX.c.identifier == item.identifier, OUTBOX.c.attempts == item.attempts, _IS_OPEN)
            connection.execute(sa.update(OUTBOX).where(mine).values(due_at=due_at, cause=cause[:1000]))
        return True

    def give_up(self, item: OutboxItem, cause: str) -> None:
        """It can never be told: to the dead letters."""
        self._end(item, dead_at=self._clock(), cause=cause[:1000])

    def outbox(self, key: str) -> list[OutboxItem]:
        """All that was or is to be told of a request."""
        query = sa.select(*_SHOWN).where(OUTBOX.c.key == key).order_by(OUTBOX.c.identifier)
        with self._database.read() as connection:
            return [_item(row) for row in connection.execute(query)]

    def outbox_counts(self) -> dict[tuple[str, str], int]:
        """How many of each kind are "waiting" to be told, and how many are "dead"."""
        fate = sa.case((OUTBOX.c.dead_at.is_(None), "waiting"), else_="dead")
        query = (
            sa.select(OUTBOX.c.kind, fate, sa.func.count())
            .where(OUTBOX.c.delivered_at.is_(None))
            .group_by(OUTBOX.c.kind, fate)
        )
        with self._database.read() as connection:
            return {(kind, what): number for kind, what, number in connection.execute(query)}

    def dead_letters(self, kind: str | None = None, tenant: str | None = None, limit: int = 100) -> list[OutboxItem]:
        """What was given up, of a kind and of a tenant, the newest first."""
        query = sa.select(*_SHOWN).where(OUTBOX.c.dead_at.is_not(None)).order_by(OUTBOX.c.dead_at.desc())
        if kind is not None:
            query = query.where(OUTBOX.c.kind == kind)
        if tenant is not None:
            query = query.where(OUTBOX.c.tenant == tenant)
        with self._database.read() as connection:
            return [_item(row) for row in connection.execute(query.limit(max(0, limit)))]

    def revive(self, identifier: str, tenant: str | None = None) -> None:
        """Try a dead letter again, from the beginning.

        Raises:
            DeadLetterNotFound: there is no such one, or it is another tenant's.
        """
        is_dead = sa.and_(OUTBOX.c.identifier == identifier, OUTBOX.c.dead_at.is_not(None))
        if tenant is not None:
            is_dead = sa.and_(is_dead, OUTBOX.c.tenant == tenant)
        anew = sa.update(OUTBOX).where(is_dead).values(dead_at=None, attempts=0, due_at=self._clock(), cause=None)
        with self._database.write() as connection:
            if not connection.execute(anew).rowcount:
                raise DeadLetterNotFound(identifier)

    def _end(self, item: OutboxItem, **values: Any) -> None:  # noqa: ANN401 (columns)
        with self._database.write() as connection:
            is_there = sa.and_(OUTBOX.c.identifier == item.identifier, OUTBOX.c.delivered_at.is_(None))
            connection.execute(sa.update(OUTBOX).where(is_there).values(**values))


def _bury(connection: sa.Connection, identifiers: list[str], now: datetime) -> None:
    cause = sa.func.coalesce(OUTBOX.c.cause, "Every try broke off")
    connection.execute(sa.update(OUTBOX).where(OUTBOX.c.identifier.in_(identifiers)).values(dead_at=now, cause=cause))


def _item(row: sa.Row[Any]) -> OutboxItem:
    return OutboxItem(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public name for it)
