"""What a simulated day came to. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from comfypod.fleet.settings import EndpointSettings
from comfypod.fleet.traffic import DAY_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Settings, and what they led to. A latency is from a request's arrival to its end.

    Args:
        used_share: of the paid seconds, those in which a request ran; not what first runs took longer.
        cold_share: of the requests, those that were the first of a worker.
        keeps_up: whether the queue was worked off soon after the last request came.
    """

    settings: EndpointSettings
    requests: int
    seconds: float
    dollars: float
    billed_seconds: int
    used_share: float
    cold_share: float
    starts: int
    most_workers: int
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float
    mean_seconds: float
    keeps_up: bool

    @property
    def dollars_per_day(self) -> float:
        """On average."""
        return self.dollars * DAY_SECONDS / self.seconds

    @property
    def dollars_per_request(self) -> float:
        """On average; 0 if there was none."""
        return self.dollars / self.requests if self.requests else 0.0


def percentile(ordered: Sequence[float], share: float) -> float:
    """The least value that ``share`` of them do not exceed; 0.0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]
