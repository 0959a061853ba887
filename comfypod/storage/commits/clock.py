"""What time it is at the store: the one clock by which leases end, however wrong those of workers are."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from comfypod.storage.buckets.records import Records
from comfypod.storage.commits.documents import CLOCK_KEY

KNOWN_SECONDS = 60.0
"""How long an answer is gone by; the clock of this machine tells what has passed since."""
ACCURACY_SECONDS = 2.0
"""It tells whole seconds, twice: of the lease, and of now."""


class StoreClock:
    """The store's clock, looked at by writing a small object; two requests, and only now and then."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._seen: tuple[float, datetime] | None = None

    async def now(self) -> datetime:
        """The moment (UTC) by the store's clock, not later than it is. Raises `StoreFailure`."""
        if self._seen is None or time.monotonic() - self._seen[0] > KNOWN_SECONDS:
            self._seen = await self._look()
        read_at, stored_at = self._seen
        return stored_at + timedelta(seconds=time.monotonic() - read_at)

    async def _look(self) -> tuple[float, datetime]:
        await self._records.overwrite(CLOCK_KEY, b"{}")
        record = await self._records.read(CLOCK_KEY)
        # Where it is removed at once, this machine's own clock must do; what is committed does not depend on it.
        return time.monotonic(), record.stored_at if record else datetime.now(UTC)
