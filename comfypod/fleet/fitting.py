"""How workers start, as a log of requests shows it. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Final

from comfypod.fleet.log import LoggedRequest, RequestLog
from comfypod.fleet.settings import Conditions, EndpointSettings

LEAST_STARTS: Final = 5
_REVIVAL_SECONDS = 3.0
"""A start that took no longer was no start, but a revival: RunPod tells of 2.3 s for 95 % of those (FlashBoot)."""
_WARM_DELAY_SECONDS = 1.0
"""Who waited no longer found a worker that was up: the SDK polls once a second."""
_MARGIN_SECONDS = 2.0
"""A worker may stop a little later than its idle timeout."""
_LEAST_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Fit:
    """What a log says: the conditions, each request's duration on a warm worker, and where each of it comes from."""

    conditions: Conditions
    execution_seconds: tuple[float, ...]
    notes: tuple[str, ...]


def fit(log: RequestLog, settings: EndpointSettings, assumed: Conditions) -> Fit:
    """Measure starts and first runs in a log, given the settings that it ran under; what cannot be measured is assumed.

    A request that came when every worker had stopped, with no active ones, waited for exactly one start. One that
    waited, and did not begin just when another had ended, was the first run of a worker that had come up.
    """
    lone = [] if settings.active_workers else _lone(log.requests, settings.idle_seconds)
    conditions, notes = _starts(lone, assumed)
    durations = tuple(request.execution_seconds for request in log.requests)
    is_first = _first_runs(log.requests)
    first = [seconds for seconds, flag in zip(durations, is_first, strict=True) if flag]
    later = [seconds for seconds, flag in zip(durations, is_first, strict=True) if flag is False]
    if len(first) < LEAST_STARTS or len(later) < LEAST_STARTS:
        notes.append(f"First runs take {assumed.first_run_seconds:g} s longer: assumed, the log does not show it.")
        return Fit(conditions, durations, tuple(notes))
    extra = max(0.0, median(first) - median(later))
    notes.append(f"First runs take {extra:.1f} s longer: there were {len(first)}, and {len(later)} later ones.")
    if settings.concurrency > 1:
        at_once = settings.concurrency
        notes.append(f"A worker took {at_once} requests at a time: the log's execution times have waiting in them.")
    warm = tuple(
        max(seconds - extra, _LEAST_SECONDS) if flag else seconds
        for seconds, flag in zip(durations, is_first, strict=True)
    )
    return Fit(replace(conditions, first_run_seconds=extra), warm, tuple(notes))


def _lone(requests: Sequence[LoggedRequest], idle_seconds: float) -> list[LoggedRequest]:
    """Those that came when nothing had run for longer than the idle timeout; the first of all may have been lucky."""
    lone = []
    last_end = 0.0
    for before, request in pairwise(requests):
        last_end = max(last_end, before.arrived_at + (before.latency_seconds or before.execution_seconds))
        if request.delay_seconds is not None and request.arrived_at > last_end + idle_seconds + _MARGIN_SECONDS:
            lone.append(request)
    return lone


def _first_runs(requests: Sequence[LoggedRequest]) -> list[bool | None]:
    """Of each request whether it was the first of its worker; None: its delay is not told, or it was a revival's.

    A worker that has ended a request takes one other: each end is one request's beginning at most.
    """
    ends = deque(sorted(request.arrived_at + (request.latency_seconds or 0.0) for request in requests))
    found: list[bool | None] = [None] * len(requests)
    for begin, number in sorted((_begin(request), number) for number, request in enumerate(requests)):
        delay = requests[number].delay_seconds
        if delay is None:
            continue
        while ends and ends[0] < begin - _WARM_DELAY_SECONDS - _LEAST_SECONDS:
            ends.popleft()
        if delay <= _WARM_DELAY_SECONDS:
            found[number] = False
        elif ends and ends[0] <= begin + _LEAST_SECONDS:
            ends.popleft()
            found[number] = False
        elif delay > _REVIVAL_SECONDS:
            found[number] = True
    return found


def _begin(request: LoggedRequest) -> float:
    return request.arrived_at + (request.delay_seconds or 0.0)


def _starts(lone: Sequence[LoggedRequest], assumed: Conditions) -> tuple[Conditions, list[str]]:
    """The conditions as far as starts go, from requests that waited for nothing else."""
    delays = sorted(request.delay_seconds or 0.0 for request in lone)
    cold = tuple(delay for delay in delays if delay > _REVIVAL_SECONDS)
    revivals = [delay for delay in delays if delay <= _REVIVAL_SECONDS]
    if len(lone) < LEAST_STARTS:
        surely = f"the log has only {len(lone)} requests that surely waited for one"
        return assumed, [f"Starts take {median(assumed.cold_start_seconds):g} s: assumed, {surely}."]
    notes = []
    if cold:
        notes.append(f"Starts take {median(cold):.1f} s, at most {cold[-1]:.1f} s: {len(cold)} were measured.")
    if revivals:
        notes.append(f"{len(revivals)} of {len(lone)} starts were revivals of {median(revivals):.1f} s (FlashBoot).")
    measured = replace(
        assumed,
        cold_start_seconds=cold or assumed.cold_start_seconds,
        revival_share=len(revivals) / len(lone),
        revival_seconds=median(revivals) if revivals else assumed.revival_seconds,
        throttled_share=0.0,  # what was waited for machines is among the starts that were measured
    )
    return measured, notes
