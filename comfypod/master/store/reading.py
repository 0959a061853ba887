"""Reads requests; changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from comfypod.errors import RequestNotFound
from comfypod.master.documents import Notification, Preview, Request, Signal, digest
from comfypod.master.states import QUEUED, State
from comfypod.master.store.schema import INPUTS, LABELS, PREVIEWS, REQUESTS
from comfypod.master.store.section import Section

MAXIMUM_LISTED = 500
_HIDDEN = {"content_hash", "is_hinted"}
SHOWN = tuple(column for column in REQUESTS.c if column.name not in _HIDDEN)


def to_request(row: sa.Row[Any]) -> Request:
    """A row of SHOWN."""
    fields = dict(row._mapping)  # noqa: SLF001 (SQLAlchemy's public name for it)
    notify = tuple(Notification.from_json(item) for item in fields.pop("notify"))
    return Request(**fields, notify=notify)


class Reading(Section):
    """What is there."""

    def get(self, key: str) -> Request:
        """One request.

        Raises:
            RequestNotFound: there is none of this key.
        """
        with self._database.read() as connection:
            return read(connection, key)

    def find(self, tenant: str, idempotency_key: str) -> Request | None:
        """The request that a tenant made under this idempotency key."""
        query = sa.select(*SHOWN).where(REQUESTS.c.tenant == tenant, REQUESTS.c.idempotency_key == idempotency_key)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else to_request(row)

    def list(
        self,
        *,
        tenant: str | None = None,
        states: Collection[State] | None = None,
        labels: Mapping[str, str] | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[Request]:
        """Requests, the newest first.

        Args:
            tenant: of this one only.
            states: only in these.
            labels: only with all of these.
            before: only those older than this key: the last one of the page before.
            limit: at most so many, and never more than MAXIMUM_LISTED.
        """
        query = sa.select(*SHOWN).order_by(REQUESTS.c.key.desc()).limit(max(1, min(limit, MAXIMUM_LISTED)))
        if tenant is not None:
            query = query.where(REQUESTS.c.tenant == tenant)
        if states is not None:
            query = query.where(REQUESTS.c.state.in_(list(states)))
        if before is not None:
            query = query.where(REQUESTS.c.key < before)
        for name, value in (labels or {}).items():
            has_it = sa.select(LABELS.c.key).where(LABELS.c.label == digest([name, value]))
            query = query.where(REQUESTS.c.key.in_(has_it))
        with self._database.read() as connection:
            return [to_request(row) for row in connection.execute(query)]

    def job_input(self, key: str) -> dict[str, Any]:
        """The job's input, as it was submitted; without the caller's keys for paid nodes once the request has ended.

        Raises:
            RequestNotFound: there is no request of this key.
        """
        with self._database.read() as connection:
            query = sa.select(INPUTS.c.job_input, INPUTS.c.secrets).where(INPUTS.c.key == key)
            row = connection.execute(query).first()
        if row is None:
            raise RequestNotFound(key)
        return {**row.job_input, **(row.secrets or {})}

    def preview(self, key: str) -> Preview | None:
        """The newest preview of a request that runs."""
        query = sa.select(PREVIEWS.c.content_type, PREVIEWS.c.data, PREVIEWS.c.number).where(PREVIEWS.c.key == key)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else Preview(*row)

    def position(self, key: str) -> int | None:
        """How many requests are taken before this one; None if it does not wait."""
        own = sa.select(REQUESTS.c.turn, REQUESTS.c.key).where(REQUESTS.c.key == key, REQUESTS.c.state == QUEUED)
        mine = own.subquery()
        ahead = (
            sa.select(sa.func.count())
            .select_from(REQUESTS)
            .where(
                REQUESTS.c.state == QUEUED,
                sa.tuple_(REQUESTS.c.turn, REQUESTS.c.key) < sa.tuple_(mine.c.turn, mine.c.key),
            )
            .correlate(mine)
            .scalar_subquery()
        )
        with self._database.read() as connection:
            return connection.scalar(sa.select(ahead).select_from(mine))

    def versions(self, keys: Collection[str]) -> dict[str, int]:
        """The version of each request that is there: which have changed."""
        return {key: signal.version for key, signal in self.signals(keys).items()}

    def signals(self, keys: Collection[str]) -> dict[str, Signal]:
        """Version, cancellation and hints of many requests, in one look."""
        columns = (REQUESTS.c.key, REQUESTS.c.version, REQUESTS.c.cancel_requested_at, REQUESTS.c.is_hinted)
        found: dict[str, Signal] = {}
        with self._database.read() as connection:
            for some in _chunks(list(keys)):
                for row in connection.execute(sa.select(*columns).where(REQUESTS.c.key.in_(some))):
                    is_cancelled = row.cancel_requested_at is not None
                    found[row.key] = Signal(row.version, is_cancelled=is_cancelled, is_hinted=row.is_hinted)
        return found

    def counts(self) -> dict[State, int]:
        """How many requests are in each state that any is in."""
        query = sa.select(REQUESTS.c.state, sa.func.count()).group_by(REQUESTS.c.state)
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def oldest_queued_at(self) -> datetime | None:
        """Since when the one that has waited longest waits with us."""
        query = sa.select(sa.func.min(REQUESTS.c.queued_at)).where(REQUESTS.c.state == QUEUED)
        with self._database.read() as connection:
            oldest: datetime | None = connection.scalar(query)
        return oldest

    def active(self, tenant: str, user: str | None = None) -> int:
        """How many requests of a tenant, or of one of its users, have not ended."""
        with self._database.read() as connection:
            return count_active(connection, tenant, user)


def read(connection: sa.Connection, key: str) -> Request:
    """One request, within a transaction."""
    row = connection.execute(sa.select(*SHOWN).where(REQUESTS.c.key == key)).first()
    if row is None:
        raise RequestNotFound(key)
    return to_request(row)


def count_active(connection: sa.Connection, tenant: str, user: str | None = None) -> int:
    """How many have not ended, within a transaction."""
    query = sa.select(sa.func.count()).where(REQUESTS.c.tenant == tenant, REQUESTS.c.ended_at.is_(None))
    if user is not None:
        query = query.where(REQUESTS.c.user == user)
    return connection.scalar(query) or 0


def _chunks(keys: list[str], size: int = 500) -> list[list[str]]:
    return [keys[start : start + size] for start in range(0, len(keys), size)]
