"""What can be set of an endpoint, and what cannot: the conditions under which its workers start and run. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from comfypod.errors import ConfigurationError

_MOST_WORKERS = 1000
_LONGEST_IDLE_SECONDS = 3600.0
_LEAST_DELAY_SECONDS = 0.5


class Scaler(StrEnum):
    """What makes an endpoint start workers (docs.runpod.io, "Endpoint configurations")."""

    QUEUE_DELAY = "QUEUE_DELAY"  # another one when a request has waited longer than the value, in seconds
    REQUEST_COUNT = "REQUEST_COUNT"  # one for every so many requests that wait or run


class ScaleUp(StrEnum):
    """How many workers QUEUE_DELAY adds; the documentation is silent, so that a replay has to tell."""

    ONE_AT_A_TIME = "one_at_a_time"  # the next one when the last one has had its first request
    EACH_LATE = "each_late"  # one for every request that has waited too long


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """The settings that concern workers; the defaults are RunPod's.

    Raises:
        ConfigurationError: RunPod would refuse them.
    """

    scaler: Scaler = Scaler.QUEUE_DELAY
    scaler_value: float = 4.0
    """Seconds, or requests per worker."""
    idle_seconds: float = 5.0
    active_workers: int = 0
    max_workers: int = 3
    concurrency: int = 1
    """How many requests a worker takes at a time; it runs one of them, the others are no longer in the queue."""

    def __post_init__(self) -> None:
        problems = [problem for holds, problem in self._rules() if not holds]
        if problems:
            raise ConfigurationError(problems)

    def _rules(self) -> list[tuple[bool, str]]:
        least = _LEAST_DELAY_SECONDS if self.scaler is Scaler.QUEUE_DELAY else 1
        return [
            (
                self.scaler_value >= least and math.isfinite(self.scaler_value),
                f"The scaler's value is at least {least}.",
            ),
            (1 <= self.idle_seconds <= _LONGEST_IDLE_SECONDS, "The idle timeout is from 1 to 3600 s."),
            (0 <= self.active_workers <= self.max_workers, "There are from 0 to max workers active workers."),
            (1 <= self.max_workers <= _MOST_WORKERS, f"Max workers are from 1 to {_MOST_WORKERS}."),
            (1 <= self.concurrency <= 100, "A worker takes from 1 to 100 requests at a time."),
        ]

    def __str__(self) -> str:
        value = f"{self.scaler_value:g}" + (" s" if self.scaler is Scaler.QUEUE_DELAY else "")
        active = f", {self.active_workers} active" if self.active_workers else ""
        return f"{self.scaler} {value}, idle {self.idle_seconds:g} s{active}, max {self.max_workers}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a worker costs, and how it starts.

    Args:
        price_per_second: dollars, from the start of a worker until it has stopped, each start rounded up.
        cold_start_seconds: as measured: one of them is drawn for every start.
        first_run_seconds: what the first request after a start takes longer: loading models, compiling.
        revival_share: of the starts, with FlashBoot: they take ``revival_seconds``, and the next request is no first.
        throttled_share: of the starts: they wait ``throttled_seconds`` for a machine, which is not billed.
        pause_seconds: between two requests of a worker that takes one at a time: the SDK polls once a second.
    """

    price_per_second: float
    cold_start_seconds: tuple[float, ...] = (13.0,)
    first_run_seconds: float = 45.0
    revival_share: float = 0.0
    revival_seconds: float = 2.0
    throttled_share: float = 0.0
    throttled_seconds: float = 60.0
    pause_seconds: float = 0.5
    scale_up: ScaleUp = ScaleUp.ONE_AT_A_TIME

    def __post_init__(self) -> None:
        numbers = (
            self.price_per_second,
            *self.cold_start_seconds,
            self.first_run_seconds,
            self.revival_seconds,
            self.throttled_seconds,
            self.pause_seconds,
        )
        problems = []
        if not self.cold_start_seconds or not all(math.isfinite(number) and number >= 0 for number in numbers):
            problems.append("Prices and durations are not negative, and there is at least one cold start.")
        if not all(0 <= share <= 1 for share in (self.revival_share, self.throttled_share)):
            problems.append("Shares are from 0 to 1.")
        if problems:
            raise ConfigurationError(problems)
