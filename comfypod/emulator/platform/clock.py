"""The clock of an emulated endpoint."""

from __future__ import annotations

import time


class EndpointClock:
    """Seconds since 1970 that only grow, whatever is done to the machine's clock, and that go on over restarts."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        """The present moment."""
        return self._offset + time.monotonic()

    def go_on_after(self, moment: float) -> None:
        """Never be earlier than this moment of an earlier process."""
        self._offset = max(self._offset, moment - time.monotonic())
