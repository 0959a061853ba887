"""Removes what has had its time, so that the database stays of one size."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import sqlalchemy as sa

from comfypod.master.store.schema import FAILURES, INPUTS, LABELS, LEASES, OUTBOX, PREVIEWS, REQUESTS
from comfypod.master.store.section import Section

_AT_ONCE: Final = 200  # requests in one transaction: nobody else waits for long
_OF_REQUESTS: Final = (INPUTS, LABELS, PREVIEWS, OUTBOX, REQUESTS)


class Retention(Section):
    """What a master does now and then."""

    def prune(self, older_than: timedelta) -> int:
        """Remove requests that ended so long ago and whatever belongs to them, failures, and leases that are over.

        A request of which something is still to be told stays. An idempotency key may be used again from then on:
        keep requests for a day at least where callers rely on theirs that long.

        Returns:
            How many requests were removed.
        """
        before = self._clock() - older_than
        is_told = ~sa.exists().where(
            OUTBOX.c.key == REQUESTS.c.key, OUTBOX.c.delivered_at.is_(None), OUTBOX.c.dead_at.is_(None)
        )
        oldest = sa.select(REQUESTS.c.key).where(REQUESTS.c.ended_at < before, is_told).limit(_AT_ONCE)
        removed = 0
        while True:
            with self._database.write() as connection:
                keys = list(connection.scalars(oldest.with_for_update(skip_locked=True)))
                for table in _OF_REQUESTS:
                    connection.execute(sa.delete(table).where(table.c.key.in_(keys)))
            removed += len(keys)
            if len(keys) < _AT_ONCE:
                break
        with self._database.write() as connection:
            connection.execute(sa.delete(FAILURES).where(FAILURES.c.failed_at < before))
            connection.execute(sa.delete(LEASES).where(LEASES.c.until < self._clock()))
        return removed
