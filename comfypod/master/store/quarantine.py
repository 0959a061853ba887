"""Workflows that fail wherever they run, and the workers on which everything fails."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from comfypod.master.store.schema import FAILURES, QUARANTINE
from comfypod.master.store.section import Section


class Quarantine(Section):
    """Who failed where."""

    def failed_on(self, workflow_hash: str, worker_id: str, error_class: str) -> int:
        """Note a failure.

        Returns:
            On how many different workers this workflow has failed since it was lifted last.
        """
        worker_id, now = worker_id[:200], self._clock()
        values = {"workflow_hash": workflow_hash, "worker_id": worker_id, "error_class": error_class, "failed_at": now}
        statement = self._insert(FAILURES).values(values)
        with self._database.write() as connection:
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["workflow_hash", "worker_id", "error_class"], set_={"failed_at": now}
                )
            )
            workers = sa.select(sa.func.count(sa.distinct(FAILURES.c.worker_id)))
            return connection.scalar(workers.where(FAILURES.c.workflow_hash == workflow_hash)) or 0

    def failed_workflows(self, worker_id: str, within: timedelta) -> int:
        """How many different workflows failed on a worker of late: three of them speak against the worker."""
        query = sa.select(sa.func.count(sa.distinct(FAILURES.c.workflow_hash))).where(
            FAILURES.c.worker_id == worker_id, FAILURES.c.failed_at > self._clock() - within
        )
        with self._database.read() as connection:
            return connection.scalar(query) or 0

    def quarantine(self, workflow_hash: str, reason: str) -> None:
        """Have a workflow run no more; ``reason`` is a sentence. The first one stays."""
        values = {"workflow_hash": workflow_hash, "reason": reason[:1000], "since": self._clock()}
        with self._database.write() as connection:
            connection.execute(self._insert(QUARANTINE).values(values).on_conflict_do_nothing())

    def quarantined(self, workflow_hash: str) -> str | None:
        """Why a workflow is not run; None if it is."""
        query = sa.select(QUARANTINE.c.reason).where(QUARANTINE.c.workflow_hash == workflow_hash)
        with self._database.read() as connection:
            return connection.scalar(query)

    def quarantines(self) -> dict[str, tuple[str, datetime]]:
        """The reason of each, and since when."""
        with self._database.read() as connection:
            return {row.workflow_hash: (row.reason, row.since) for row in connection.execute(sa.select(QUARANTINE))}

    def lift(self, workflow_hash: str) -> bool:
        """Have a workflow run again, and forget its failures; false if it was in no quarantine."""
        with self._database.write() as connection:
            return lift(connection, workflow_hash)


def lift(connection: sa.Connection, workflow_hash: str) -> bool:
    """The same within a transaction."""
    connection.execute(sa.delete(FAILURES).where(FAILURES.c.workflow_hash == workflow_hash))
    lifted = connection.execute(sa.delete(QUARANTINE).where(QUARANTINE.c.workflow_hash == workflow_hash))
    return bool(lifted.rowcount)
