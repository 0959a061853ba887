"""The client's time: what it measures by, and how it pauses. Passed in, so that tests need not wait."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What time it is, and how to let some pass."""

    def now(self) -> float:
        """Seconds since some moment, those included in which the machine slept."""

    def sleep(self, seconds: float, woken_by: threading.Event | None = None) -> None:
        """Let so much time pass, or less if the event is set."""


class SystemClock:
    """The machine's own."""

    def now(self) -> float:
        """Seconds on a clock that nobody sets, and that goes on while the machine sleeps where the system has one.

        ``time.monotonic`` stands still while Linux or macOS sleeps; a client has to know that an hour has passed.
        """
        for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):  # of Linux; of macOS, where it counts sleep
            if hasattr(time, name):
                return time.clock_gettime(getattr(time, name))
        return time.monotonic()  # of Windows, where it counts sleep

    def sleep(self, seconds: float, woken_by: threading.Event | None = None) -> None:
        """Let so much time pass, or less if the event is set."""
        if woken_by is None:
            time.sleep(seconds)
        else:
            woken_by.wait(seconds)


class Stopped(Exception):
    """A pause was cut short, because nobody waits any more. Never leaves this package."""


class StoppingClock:
    """Another clock, whose pauses end with `Stopped` as soon as the event is set."""

    def __init__(self, clock: Clock, event: threading.Event) -> None:
        self._clock = clock
        self._event = event

    def now(self) -> float:
        """The other clock's time."""
        return self._clock.now()

    def sleep(self, seconds: float, woken_by: threading.Event | None = None) -> None:
        """Let so much time pass.

        Raises:
            Stopped: the event was set.
        """
        if not self._event.is_set():
            self._clock.sleep(seconds, woken_by or self._event)
        if self._event.is_set():
            raise Stopped
