"""How many workers an emulated endpoint may have, when it starts and stops them, and what a second of one costs."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

INIT_TIMEOUT_VARIABLE = "RUNPOD_INIT_TIMEOUT"
"""Seconds that a worker may take to start; a setting of the platform that the endpoint's environment carries
(docs.runpod.io, "Optimization")."""
WORKER_MARK = "{worker}"
"""Where the worker's id goes in the name of its log."""
RTX_4090_DOLLARS = 0.00031
"""A second of one RTX 4090 (docs.runpod.io, table of serverless GPU prices, August 2026)."""
_LONGEST_IDLE_SECONDS = 3600.0


class Scaler(StrEnum):
    """What makes the endpoint start workers (docs.runpod.io, "Endpoint configurations")."""

    QUEUE_DELAY = "QUEUE_DELAY"  # one worker more when a job has waited longer than the value, in seconds
    REQUEST_COUNT = "REQUEST_COUNT"  # one worker for every so many jobs that wait or run


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """The settings of an endpoint that concern its workers; the defaults are RunPod's.

    FlashBoot is the exception: the console turns it on, the REST API leaves it off where nothing is said; here it is
    off. Whether the time in which a worker starts is billed is told differently by two pages of the documentation
    ("Pricing" says yes, "Workers" says no): ``bill_initializing`` chooses.

    Raises:
        ValueError: a value is outside its range; the message says which, and what is allowed.
    """

    command: Sequence[str]
    """The program of a worker and its arguments."""
    min_workers: int = 0
    max_workers: int = 3
    idle_seconds: float = 5.0
    """How long a worker without a job is kept, if there are more than ``min_workers``."""
    scaler: Scaler = Scaler.QUEUE_DELAY
    scaler_value: float = 4.0
    """Seconds (QUEUE_DELAY) or jobs per worker (REQUEST_COUNT)."""
    flash_boot: bool = False
    """Whether a worker that is no longer needed is frozen, and revived by the next demand."""
    price_per_second: float = RTX_4090_DOLLARS
    """Dollars."""
    bill_initializing: bool = True
    directory: Path | None = None
    """Where the workers run; None: where the emulator does."""
    log: Path | None = None
    """File for what the workers print, one for each if its name has ``{worker}`` in it; None: the emulator's stderr."""
    stop_seconds: float = 5.0
    """How long a worker may take to end after SIGTERM. The platform's own grace is not documented."""
    initialization_seconds: float = 420.0
    """A worker that is not up by then is unhealthy; RUNPOD_INIT_TIMEOUT in ``environment`` wins."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables for the workers, in addition to the emulator's own; they win, except over those of the endpoint."""

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise ValueError(problem)

    @property
    def start_limit_seconds(self) -> float:
        """How long a worker may take until it is heard of."""
        return float(self.environment.get(INIT_TIMEOUT_VARIABLE, self.initialization_seconds))

    def log_of(self, worker_id: str) -> Path | None:
        """The file for what this worker prints."""
        return None if self.log is None else Path(str(self.log).replace(WORKER_MARK, worker_id))

    def _problem(self) -> str | None:
        problems = {
            "The workers' command is empty; give the program that starts a worker.": not self.command,
            f"There must be from 0 to max workers at least, not {self.min_workers} of {self.max_workers}.": not (
                0 <= self.min_workers <= self.max_workers
            ),
            f"The idle timeout must be from 0 to 3600 s, not {self.idle_seconds:g}.": not (
                0 <= self.idle_seconds <= _LONGEST_IDLE_SECONDS
            ),
            f"The price of a second must be 0 dollars or more, not {self.price_per_second:g}.": not _is_amount(
                self.price_per_second
            ),
            f"A worker must have 0 s or more to end, not {self.stop_seconds:g}.": not _is_amount(self.stop_seconds),
            f"{INIT_TIMEOUT_VARIABLE} must be a number of seconds above 0.": not _is_seconds(
                self.environment.get(INIT_TIMEOUT_VARIABLE, str(self.initialization_seconds))
            ),
            "FlashBoot is emulated by stopping all processes of a worker, which are found in Linux's /proc; "
            "leave it off here.": self.flash_boot and sys.platform != "linux",
        }
        return next((problem for problem, is_so in problems.items() if is_so), None) or self._scaler_problem()

    def _scaler_problem(self) -> str | None:
        if self.scaler not in set(Scaler):
            return f"There is no scaler {self.scaler!r}; use QUEUE_DELAY or REQUEST_COUNT."
        if self.scaler is Scaler.REQUEST_COUNT and not (self.scaler_value >= 1 and _is_amount(self.scaler_value)):
            return f"REQUEST_COUNT needs a value of at least 1 job per worker, not {self.scaler_value:g}."
        if not (self.scaler_value > 0 and _is_amount(self.scaler_value)):
            return f"QUEUE_DELAY needs a value above 0 s, not {self.scaler_value:g}."
        return None


def _is_amount(value: float) -> bool:
    return math.isfinite(value) and value >= 0


def _is_seconds(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False
