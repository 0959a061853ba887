"""When requests come, and how long they run: from a log, or drawn. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

DAY_SECONDS = 86_400.0
_BURST_REQUESTS = 8
_BURST_GAP_SECONDS = 2.0
_SWING = 0.8
"""By which share of the mean the diurnal rate rises and falls."""


class TrafficKind(StrEnum):
    """How requests are spread over the day."""

    POISSON = "poisson"  # at any time alike, each by itself
    BURSTY = "bursty"  # in bursts of about eight, two seconds apart
    DIURNAL = "diurnal"  # few at night, many in the afternoon


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in the order in which they come.

    Args:
        arrivals: seconds since the beginning, ascending.
        execution_seconds: of each, on a worker that has run one before.
        seconds: for how long requests come; active workers are paid for all of it.
    """

    arrivals: Sequence[float]
    execution_seconds: Sequence[float]
    seconds: float

    def __len__(self) -> int:
        return len(self.arrivals)

    @property
    def per_day(self) -> float:
        """Requests."""
        return len(self.arrivals) * DAY_SECONDS / self.seconds


def generate(
    kind: TrafficKind,
    per_day: float,
    *,
    hours: float = 24.0,
    execution_seconds: float = 10.0,
    spread: float = 0.3,
    seed: int = 0,
) -> Trace:
    """Draw requests; ``execution_seconds`` is the mean, ``spread`` the standard deviation of the logarithm."""
    draw = random.Random(seed)  # noqa: S311 (a simulation)
    seconds = hours * 3600.0
    rate = per_day / DAY_SECONDS
    arrivals = sorted(moment for moment in _KINDS[kind](draw, rate, seconds) if moment < seconds)
    middle = math.log(execution_seconds) - spread * spread / 2
    return Trace(arrivals, [draw.lognormvariate(middle, spread) for _ in arrivals], seconds)


def _poisson(draw: random.Random, rate: float, seconds: float) -> Iterator[float]:
    moment = draw.expovariate(rate)
    while moment < seconds:
        yield moment
        moment += draw.expovariate(rate)


def _bursty(draw: random.Random, rate: float, seconds: float) -> Iterator[float]:
    for begin in _poisson(draw, rate / _BURST_REQUESTS, seconds):
        moment = begin
        yield moment
        while draw.random() > 1 / _BURST_REQUESTS:  # so many on average, that first one included
            moment += draw.expovariate(1 / _BURST_GAP_SECONDS)
            yield moment


def _diurnal(draw: random.Random, rate: float, seconds: float) -> Iterator[float]:
    for moment in _poisson(draw, rate * (1 + _SWING), seconds):  # thinned: some of the highest rate are left out
        now = 1 - _SWING * math.cos(2 * math.pi * (moment / DAY_SECONDS - 1 / 8))  # lowest at three in the morning
        if draw.random() * (1 + _SWING) < now:
            yield moment


_KINDS = {TrafficKind.POISSON: _poisson, TrafficKind.BURSTY: _bursty, TrafficKind.DIURNAL: _diurnal}
