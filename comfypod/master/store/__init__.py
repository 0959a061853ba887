"""The store of requests: SQLite or Postgres, the same database as the durable engine's."""

from comfypod.master.store.store import Store

__all__ = ["Store"]
