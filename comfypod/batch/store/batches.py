"""Batches: made once, found again, and what state they are in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from comfypod.batch.documents import BatchState, Offer, Plan
from comfypod.batch.store.counts import close_if_done
from comfypod.batch.store.records import Batch, NewBatch
from comfypod.batch.store.schema import BATCHES, GROUPS, ITEMS, TOKENS
from comfypod.batch.store.section import Section
from comfypod.errors import BatchInUse, BatchNotFound
from comfypod.master.keys import secret_hash
from comfypod.master.store.section import insert

SILENT_SECONDS: Final = 30.0
"""A coordinator that has not said so long that it is alive is none any more."""
_DOCUMENTS: Final = {"plan", "offers", "next_row", "sampled_at"}
_SHOWN: Final = tuple(column for column in BATCHES.c if column.name not in _DOCUMENTS)


class Batches(Section):
    """What is kept of batches as a whole."""

    def begin(self, new: NewBatch) -> Batch:
        """Make a batch, or find the one with this identifier, which keeps its plan; its limits are the new ones."""
        now = self._clock()
        limits = {"budget_dollars": new.budget_dollars, "deadline_at": new.deadline_at}
        row = {
            "identifier": new.plan.batch,
            "label": new.label,
            "state": "running",
            "provider": new.provider,
            "plan": new.plan.model_dump(mode="json"),
            "offers": [offer.model_dump(mode="json") for offer in new.offers],
            "results": dict(new.results),
            "lease_seconds": new.lease_seconds,
            "session_items": new.session_items,
            "created_at": now,
            "next_row": 0,
            "sampled_at": 0.0,
            **limits,
        }
        with self._database.write() as connection:
            made = insert(self._database, BATCHES).values(row)
            connection.execute(made.on_conflict_do_update(index_elements=["identifier"], set_=limits))
        return self.find(new.plan.batch)

    def find(self, identifier: str | None = None) -> Batch:
        """The batch whose identifier begins so, if there is only one; the newest one without it.

        Raises:
            BatchNotFound: there is none, or there are several.
        """
        query = sa.select(*_SHOWN).order_by(BATCHES.c.number.desc()).limit(2)
        if identifier is not None:
            query = query.where(BATCHES.c.identifier.startswith(identifier, autoescape=True))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        exact = [row for row in rows if row.identifier == identifier]
        if not rows or not (len(rows) == 1 or identifier is None or exact):
            raise BatchNotFound(identifier or "at all")
        return _batch((exact or rows)[0])

    def of(self, batch: int) -> Batch:
        """A batch by its number.

        Raises:
            BatchNotFound: it is gone.
        """
        with self._database.read() as connection:
            row = connection.execute(sa.select(*_SHOWN).where(BATCHES.c.number == batch)).first()
        if row is None:
            raise BatchNotFound(str(batch))
        return _batch(row)

    def batches(self, limit: int = 50) -> list[Batch]:
        """The newest ones."""
        query = sa.select(*_SHOWN).order_by(BATCHES.c.number.desc()).limit(limit)
        with self._database.read() as connection:
            return [_batch(row) for row in connection.execute(query)]

    def plan(self, batch: int) -> Plan:
        """What is going to be done."""
        with self._database.read() as connection:
            return Plan.model_validate(connection.scalar(sa.select(BATCHES.c.plan).where(BATCHES.c.number == batch)))

    def offers(self, batch: int) -> tuple[Offer, ...]:
        """What the plan could choose from."""
        with self._database.read() as connection:
            documents = connection.scalar(sa.select(BATCHES.c.offers).where(BATCHES.c.number == batch))
        return tuple(Offer.model_validate(document) for document in documents or ())

    def change_state(self, batch: int, state: BatchState, note: str | None = None) -> Batch:
        """Pause a batch, have it go on, or cancel it; nothing happens to one that is over.

        Cancelling takes away what is waiting or leased; going on after it gives it back.
        """
        with self._changing(batch) as (connection, row):
            if row.state in {"over", state}:
                state = row.state
            elif state == "cancelled":
                _move(connection, batch, ("waiting", "leased"), "cancelled")
            elif row.state == "cancelled":
                _move(connection, batch, ("cancelled",), "waiting")
            if row.state != "over":
                ended_at = self._clock() if state == "cancelled" else None
                values = {"state": state, "note": note, "ended_at": ended_at}
                connection.execute(sa.update(BATCHES).where(BATCHES.c.number == batch).values(values))
            if state == "running" and row.started_at is not None:
                close_if_done(connection, batch, self._clock())
            shown = connection.execute(sa.select(*_SHOWN).where(BATCHES.c.number == batch)).one()
        return _batch(shown)

    def hold(self, batch: int, owner: str, gone: str | None = None) -> None:
        """Coordinate a batch from now on, or go on doing so. Call it more often than every `SILENT_SECONDS`.

        Args:
            batch: its number.
            owner: this process.
            gone: another one, of which it is known that it lives no more.

        Raises:
            BatchInUse: somebody else does.
        """
        now = self._clock()
        free = sa.or_(
            BATCHES.c.owner.is_(None),
            BATCHES.c.owner.in_([owner, *([gone] if gone else [])]),
            BATCHES.c.beat_at < now - SILENT_SECONDS,
        )
        statement = sa.update(BATCHES).where(BATCHES.c.number == batch, free).values(owner=owner, beat_at=now)
        with self._database.write() as connection:
            if connection.execute(statement).rowcount:
                return
            row = connection.execute(
                sa.select(BATCHES.c.identifier, BATCHES.c.owner).where(BATCHES.c.number == batch)
            ).first()
        if row is None:
            raise BatchNotFound(str(batch))
        raise BatchInUse(row.identifier, row.owner)

    def let_go(self, batch: int, owner: str) -> None:
        """Coordinate it no longer; nothing happens if somebody else does."""
        statement = sa.update(BATCHES).where(BATCHES.c.number == batch, BATCHES.c.owner == owner)
        with self._database.write() as connection:
            connection.execute(statement.values(owner=None))

    def set_address(self, batch: int, address: Mapping[str, Any]) -> None:
        """Write down where the coordinator listens: the next one takes the same place, for pods know it."""
        with self._database.write() as connection:
            connection.execute(sa.update(BATCHES).where(BATCHES.c.number == batch).values(address=dict(address)))

    def add_token(self, batch: int, token: str) -> None:
        """Let pods in with this token, too; only its hash is kept."""
        with self._database.write() as connection:
            connection.execute(sa.insert(TOKENS).values(token_hash=secret_hash(token), batch=batch))

    def token_hashes(self, batch: int) -> frozenset[str]:
        """Of all tokens that open this batch."""
        with self._database.read() as connection:
            return frozenset(connection.scalars(sa.select(TOKENS.c.token_hash).where(TOKENS.c.batch == batch)))


def _move(connection: sa.Connection, batch: int, before: tuple[str, ...], after: str) -> None:
    """All items of these states to another one."""
    connection.execute(
        sa.update(ITEMS).where(ITEMS.c.batch == batch, ITEMS.c.state.in_(before)).values(state=after, lease_until=None)
    )
    total = sum((GROUPS.c[name] for name in before), GROUPS.c[after])
    values = {after: total, **dict.fromkeys(before, 0)}
    connection.execute(sa.update(GROUPS).where(GROUPS.c.batch == batch).values(values))


def _batch(row: sa.Row[Any]) -> Batch:
    return Batch(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public name for it)
