"""All that may be done with batches, in one object that many threads and processes may use."""

from __future__ import annotations

import time

from comfypod.batch.store.accounts import Accounts
from comfypod.batch.store.batches import Batches
from comfypod.batch.store.leasing import Leasing
from comfypod.batch.store.recording import Recording
from comfypod.batch.store.schema import STEPS, TABLES
from comfypod.batch.store.section import Clock
from comfypod.master.store import migrations
from comfypod.master.store.database import Database


class BatchStore(Batches, Leasing, Recording, Accounts):
    """Batches in a database. Its methods are short transactions; from a coroutine call them in a thread.

    All raise StoreUnavailable when the database does not answer or has no room; then nothing was changed, or, if the
    connection broke at the very end, all of it: every one of them may be repeated.
    """

    @classmethod
    def open(cls, url: str, *, clock: Clock = time.time) -> BatchStore:
        """Open the tables of this version; call ``close`` in the end.

        Args:
            url: ``sqlite:///FILE`` or ``postgresql://…``.
            clock: seconds since 1970.

        Raises:
            ConfigurationError: it is no such address.
            StoreOutdated: the tables are of another version, or there are none; ``migrate`` makes them.
            StoreUnavailable: the database does not answer.
        """
        database = Database(url)
        try:
            migrations.check(database, STEPS, TABLES)
        except BaseException:
            database.close()
            raise
        return cls(database, clock)

    @staticmethod
    def migrate(url: str) -> int:
        """Make the tables, or bring them up to this version; those of requests, in the same database, stay.

        Returns:
            The version that they were of; 0 if there were none.
        """
        database = Database(url)
        try:
            return migrations.migrate(database, STEPS, TABLES)
        finally:
            database.close()

    def close(self) -> None:
        """End the connections to the database."""
        self._database.close()
