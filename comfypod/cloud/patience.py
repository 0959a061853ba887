"""How long failures in a row are borne, and how long to pause between them."""

from __future__ import annotations

from comfypod.cloud.clock import Clock
from comfypod.retry import backoff_seconds

GAP_SECONDS = 90.0
"""Attempts and pauses hardly ever take so long: if one did, the machine slept, or was stopped, in between."""


class Patience:
    """What is left of the patience with one call.

    A laptop that wakes up finds its connections dead and its network not there yet. Time that it slept through is not
    the platform's fault, so the patience begins anew after a gap in the clock. Two attempts in a row that take so long
    are no sleep: a network swallows what is sent (a host may have many addresses to try), or the answer drips.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = self._left_seconds = seconds
        self._clock = clock
        self._delays = backoff_seconds(first=0.5)
        self._was_long = False

    def pause(self, since: float) -> bool:
        """Pause after an attempt that began at ``since`` and failed; false if there is no patience left."""
        was_long, attempt_seconds = self._was_long, self._clock.now() - since
        self._was_long = attempt_seconds > GAP_SECONDS
        self._spend(attempt_seconds, is_gap=self._was_long and not was_long)
        if self._left_seconds <= 0:
            return False
        paused_at = self._clock.now()
        self._clock.sleep(min(next(self._delays), self._left_seconds))
        paused_seconds = self._clock.now() - paused_at
        self._spend(paused_seconds, is_gap=paused_seconds > GAP_SECONDS)
        return True

    def _spend(self, seconds: float, *, is_gap: bool) -> None:
        if is_gap:
            self._left_seconds = self._seconds
            self._delays = backoff_seconds(first=0.5)
        else:
            self._left_seconds -= seconds
