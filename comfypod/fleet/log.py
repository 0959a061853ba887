"""A log of requests: JSON lines or CSV of one's own, or RunPod's job documents."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from comfypod.errors import ConfigurationError
from comfypod.fleet.traffic import DAY_SECONDS, Trace

MOST_REQUESTS: Final = 2_000_000
_LONGEST_LINE = 1_000_000
"""Characters: RunPod's job documents have whole outputs in them."""
_LONGEST_SECONDS = 31 * 86400.0
_LATEST = 1e11
"""Seconds since 1970: the year 5138."""
_MOST_PROBLEMS = 5
_ENDED_BADLY = frozenset({"IN_QUEUE", "IN_PROGRESS", "CANCELLED"})
_ARRIVAL = ("arrived_at", "created_at", "createdAt", "timestamp")
_END = ("ended_at", "completed_at", "completedAt")
_EXECUTION = (("execution_seconds", 1.0), ("executionTime", 1000.0), ("run_ms", 1000.0))
_DELAY = (("delay_seconds", 1.0), ("delayTime", 1000.0), ("delay_ms", 1000.0))


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request as it was.

    Args:
        arrived_at: seconds, on any one clock.
        execution_seconds: as its worker had it, a first run's extra included.
        delay_seconds: from its arrival to when a worker took it; None: not told.
    """

    arrived_at: float
    execution_seconds: float
    delay_seconds: float | None = None

    @property
    def latency_seconds(self) -> float | None:
        """From arrival to end."""
        return None if self.delay_seconds is None else self.delay_seconds + self.execution_seconds


@dataclass(frozen=True, slots=True)
class RequestLog:
    """Requests in the order of their arrival; ``left_out`` are rows of requests that never ran."""

    requests: tuple[LoggedRequest, ...]
    left_out: int = 0

    def trace(self, execution_seconds: Iterable[float] | None = None) -> Trace:
        """As traffic, from the first arrival on; with other durations, if they are given."""
        begin = self.requests[0].arrived_at
        arrivals = [request.arrived_at - begin for request in self.requests]
        durations = execution_seconds or (request.execution_seconds for request in self.requests)
        return Trace(arrivals, list(durations), arrivals[-1] or DAY_SECONDS)


def read_log(path: Path) -> RequestLog:
    """Read a log; by its name's end ``.csv``, else JSON lines; a line may be a list.

    Raises:
        ConfigurationError: it cannot be read; the first rows that are wrong, each with its number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(_lines(file)) if path.suffix.lower() == ".csv" else _json_rows(file)
            return make_log(rows, str(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError([f"{path} cannot be read: {error}."]) from error


def make_log(rows: Iterable[Mapping[str, Any]], source: str) -> RequestLog:
    """Rows as they were read, checked and put in order.

    Raises:
        ConfigurationError: rows are wrong, there are none, or too many.
    """
    requests: list[LoggedRequest] = []
    problems: list[str] = []
    left_out = 0
    for number, row in enumerate(rows, 1):
        if number > MOST_REQUESTS:
            raise ConfigurationError([f"{source} has more than {MOST_REQUESTS} rows; take a day of it."])
        try:
            request = _request(row)
        except ValueError as error:
            problems.append(f"{source}, row {number}: {error}.")
            if len(problems) == _MOST_PROBLEMS:
                break
            continue
        if request is None:
            left_out += 1
        else:
            requests.append(request)
    if problems:
        raise ConfigurationError(problems)
    if not requests:
        raise ConfigurationError([f"{source} has no request that ran."])
    return RequestLog(tuple(sorted(requests, key=lambda request: request.arrived_at)), left_out)


def _request(row: Mapping[str, Any]) -> LoggedRequest | None:
    execution = _duration(row, _EXECUTION)
    if row.get("status") in _ENDED_BADLY or execution is None:
        return None
    delay = _duration(row, _DELAY)
    arrived = _moment(row, _ARRIVAL)
    if arrived is None:
        ended = _moment(row, _END)
        if ended is None or delay is None:
            raise ValueError(
                "it does not say when the request came: give arrived_at (RunPod's job documents do not have it), or "
                "ended_at with the delay"
            )
        arrived = ended - execution - delay
    return LoggedRequest(arrived, execution, delay)


def _duration(row: Mapping[str, Any], names: Iterable[tuple[str, float]]) -> float | None:
    for name, in_a_second in names:
        if row.get(name) not in (None, ""):
            seconds = _number(name, row[name]) / in_a_second
            if not 0 <= seconds <= _LONGEST_SECONDS:
                raise ValueError(f"{name} is negative, or longer than a month")
            return seconds
    return None


def _moment(row: Mapping[str, Any], names: Iterable[str]) -> float | None:
    for name in names:
        value = row.get(name)
        if value in (None, ""):
            continue
        try:
            seconds = _number(name, value)
        except ValueError:
            return _timestamp(name, value)
        if abs(seconds) > _LATEST:
            raise ValueError(f"{name} is in seconds, not in milliseconds")
        return seconds
    return None


def _number(name: str, value: Any) -> float:  # noqa: ANN401 (any JSON)
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} is no number")
    return number


def _timestamp(name: str, value: Any) -> float:  # noqa: ANN401 (any JSON)
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is neither seconds nor a time such as 2026-01-31T12:00:00Z") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _lines(file: io.TextIOBase) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise ConfigurationError([f"A line of the log is longer than {_LONGEST_LINE} characters."])
        yield line


def _json_rows(file: io.TextIOBase) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError([f"Line {number} of the log is no JSON: {error}."]) from error
        if isinstance(row, list):
            yield from (each for each in row if isinstance(each, dict))
        elif isinstance(row, dict):
            yield row
        else:
            raise ConfigurationError([f"Line {number} of the log is no JSON object."])
