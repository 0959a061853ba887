"""Wakes whoever waits for something to change."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Bell:
    """`ring` it when something has changed; who waits looks again, all of them."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait now."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, longest_seconds: float) -> None:
        """Return when it rings, or after so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_seconds):
                await self._event.wait()
