"""All that may be done with requests, in one object that many threads and processes may use."""

from __future__ import annotations

import sqlalchemy as sa

from comfypod.master.store import migrations
from comfypod.master.store.assets import Assets
from comfypod.master.store.changes import Changes
from comfypod.master.store.database import Database
from comfypod.master.store.leases import Leases
from comfypod.master.store.outbox import Outbox
from comfypod.master.store.quarantine import Quarantine
from comfypod.master.store.reading import Reading
from comfypod.master.store.retention import Retention
from comfypod.master.store.section import Clock, utc_now
from comfypod.master.store.submission import MAXIMUM_QUEUED, Enqueue, Submission, enqueue_nothing
from comfypod.master.store.tenants import Tenants


class Store(Submission, Reading, Changes, Outbox, Leases, Quarantine, Tenants, Assets, Retention):
    """Requests in a database. Its methods are short transactions; from a coroutine call them in a thread.

    All raise StoreUnavailable when the database does not answer or has no room; then nothing was changed, or, if the
    connection broke at the very end, all of it: every one of them may be repeated.
    """

    @classmethod
    def open(
        cls,
        url: str,
        *,
        enqueue: Enqueue = enqueue_nothing,
        clock: Clock = utc_now,
        maximum_queued: int = MAXIMUM_QUEUED,
    ) -> Store:
        """Open the tables of this version; call ``close`` in the end.

        Args:
            url: ``sqlite:///FILE`` or ``postgresql://…``.
            enqueue: called within the transaction that makes a request, or begins it anew, to make its workflow.
            clock: aware UTC.
            maximum_queued: how many requests may wait.

        Raises:
            ConfigurationError: it is no such address.
            StoreOutdated: the tables are of another version, or there are none; ``migrate`` makes them.
            StoreUnavailable: the database does not answer.
        """
        database = Database(url)
        try:
            migrations.check(database)
        except BaseException:
            database.close()
            raise
        return cls(database, clock, enqueue=enqueue, maximum_queued=maximum_queued)

    @staticmethod
    def migrate(url: str) -> int:
        """Make the tables, or bring them up to this version.

        Returns:
            The version that they were of; 0 if there were none.
        """
        database = Database(url)
        try:
            return migrations.migrate(database)
        finally:
            database.close()

    @property
    def engine(self) -> sa.Engine:
        """For who keeps tables of its own beside these; ``begin`` on it begins a transaction that writes."""
        return self._database.engine

    def close(self) -> None:
        """End the connections to the database."""
        self._database.close()
