"""The store of batches: tables of their own in the master's database, SQLite or Postgres."""

from comfypod.batch.store.store import BatchStore

__all__ = ["BatchStore"]
