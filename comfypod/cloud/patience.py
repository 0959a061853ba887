"""How long failures in a row are borne, and how long to pause between them."""

from __future__ import annotations

from comfypod.cloud.clock import Clock
from comfypod.retry import backoff_seconds

GAP_SECONDS = 90.0
"""No attempt and no pause takes so long: if one did, the machine slept, or was stopped, in between."""


class Patience:
    """What is left of the patience with one call.

    A laptop that wakes up finds its connections dead and its network not there yet. Time that it slept through is not
    the platform's fault, so the patience begins anew after a gap in the clock.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = self._left_seconds = seconds
        self._clock = clock
        self._delays = backoff_seconds(first=0.5)

    def pause(self, since: float) -> bool:
        """Pause after an attempt that began at ``since`` and failed; false if there is no patience left."""
        self._spend(self._clock.now() - since)
        if self._left_seconds <= 0:
            return False
        paused_at = self._clock.now()
        self._clock.sleep(min(next(self._delays), self._left_seconds))
        self._spend(self._clock.now() - paused_at)
        return True

    def _spend(self, seconds: float) -> None:
        if seconds > GAP_SECONDS:
            self._left_seconds = self._seconds
            self._delays = backoff_seconds(first=0.5)
        else:
            self._left_seconds -= seconds
