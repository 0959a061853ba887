"""Who may speak to the coordinator: whoever has a token of the batch, of which only hashes are kept."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

from comfypod.batch.coordinator.desk import Desk
from comfypod.master.keys import secret_hash

READ_AGAIN_SECONDS: Final = 5.0
"""Unknown tokens make the hashes be read again no more often than this."""
_SCHEME: Final = "Bearer "


def new_token() -> str:
    """A token for pods: drawn when the coordinator starts, and given to them in their environment."""
    return "cb_" + secrets.token_urlsafe(32)


class Tokens:
    """The hashes of a batch's tokens; those of coordinators before this one open it, too: their pods are alive."""

    def __init__(self, desk: Desk, clock: Callable[[], float] = time.monotonic) -> None:
        self._desk = desk
        self._clock = clock
        self._hashes: frozenset[str] = frozenset()
        self._read_at = float("-inf")

    async def admits(self, authorization: str) -> bool:
        """Whether an ``Authorization`` header has one of them. A hash tells nothing by the time of its comparison."""
        if not authorization.startswith(_SCHEME):
            return False
        hashed = secret_hash(authorization.removeprefix(_SCHEME).strip())
        if hashed not in self._hashes and self._clock() - self._read_at >= READ_AGAIN_SECONDS:
            self._read_at = self._clock()
            self._hashes = await self._desk.ask(self._desk.store.token_hashes, self._desk.batch)
        return hashed in self._hashes
