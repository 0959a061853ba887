"""The log that the master's store already has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from comfypod.fleet.log import RequestLog, make_log
from comfypod.master.store.database import Database
from comfypod.master.store.schema import REQUESTS


def read_store(url: str, hours: float, *, now: datetime | None = None) -> RequestLog:
    """Requests that ended within the last ``hours``; the delay is all that a caller waited before the run.

    Raises:
        ConfigurationError: this is no address of a database, or it has no such request.
        StoreUnavailable: it does not answer, or has no tables of ours.
    """
    since = (now or datetime.now(UTC)) - timedelta(hours=hours)
    database = Database(url)
    try:
        with database.read() as connection:
            columns = (REQUESTS.c.created_at, REQUESTS.c.ended_at, REQUESTS.c.timings)
            found = connection.execute(sa.select(*columns).where(REQUESTS.c.ended_at >= since))
            return make_log(_rows(found), "The store")
    finally:
        database.close()


def _rows(found: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    for created_at, ended_at, timings in found:
        run_ms = (timings or {}).get("run_ms")
        row: dict[str, Any] = {"arrived_at": created_at.timestamp(), "run_ms": run_ms}
        if isinstance(run_ms, int | float):
            row["delay_seconds"] = max(0.0, (ended_at - created_at).total_seconds() - run_ms / 1000.0)
        yield row
