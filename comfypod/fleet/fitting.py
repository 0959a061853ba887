"""How workers start, as a log of requests shows it. Pure."""

from __future__ import annotations

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

    A request that came when every worker had stopped, with no active ones, waited for exactly one start, and was its
    first run.
    """
    lone = [] if settings.active_workers else _lone(log.requests, settings.idle_seconds)
    notes: list[str] = []
    conditions, cold = _starts(lone, assumed, notes)
    warm_seconds = [
        request.execution_seconds
        for request in log.requests
        if request.delay_seconds is not None and request.delay_seconds <= _WARM_DELAY_SECONDS
    ]
    if len(cold) < LEAST_STARTS or len(warm_seconds) < LEAST_STARTS:
        notes.append(f"First runs take {assumed.first_run_seconds:g} s longer: assumed, the log does not show it.")
        return Fit(conditions, tuple(request.execution_seconds for request in log.requests), tuple(notes))
    warm = median(warm_seconds)
    extra = max(0.0, median(request.execution_seconds for request in cold) - warm)
    notes.append(
        f"First runs take {extra:.1f} s longer: of {len(cold)} that surely were, and {len(warm_seconds)} others."
    )
    if settings.concurrency > 1:
        notes.append(
            f"A worker took {settings.concurrency} requests at a time: the log's execution times have waiting in them."
        )
    least_delay = 0.8 * min(request.delay_seconds or 0.0 for request in cold)
    durations = tuple(_warm(request, extra, warm, least_delay) for request in log.requests)
    return Fit(replace(conditions, first_run_seconds=extra), durations, tuple(notes))


def _lone(requests: Sequence[LoggedRequest], idle_seconds: float) -> list[LoggedRequest]:
    """Those that came when nothing had run for longer than the idle timeout; the first of all may have been lucky."""
    lone = []
    last_end = 0.0
    for before, request in pairwise(requests):
        last_end = max(last_end, before.arrived_at + (before.latency_seconds or before.execution_seconds))
        if request.delay_seconds is not None and request.arrived_at > last_end + idle_seconds + _MARGIN_SECONDS:
            lone.append(request)
    return lone


def _starts(
    lone: Sequence[LoggedRequest], assumed: Conditions, notes: list[str]
) -> tuple[Conditions, list[LoggedRequest]]:
    """The conditions as far as starts go, and the requests that waited for one."""
    delays = [request.delay_seconds or 0.0 for request in lone]
    cold = [request for request in lone if (request.delay_seconds or 0.0) > _REVIVAL_SECONDS]
    revivals = [delay for delay in delays if delay <= _REVIVAL_SECONDS]
    if len(lone) < LEAST_STARTS:
        middle = median(assumed.cold_start_seconds)
        notes.append(
            f"Starts take {middle:g} s: assumed, the log has only {len(lone)} requests that surely waited for one."
        )
        return assumed, cold
    measured = assumed.cold_start_seconds
    if cold:
        measured = tuple(sorted(request.delay_seconds or 0.0 for request in cold))
        notes.append(f"Starts take {median(measured):.1f} s, at most {measured[-1]:.1f} s: {len(cold)} were measured.")
    if revivals:
        notes.append(f"{len(revivals)} of {len(lone)} starts were revivals of {median(revivals):.1f} s (FlashBoot).")
    return (
        replace(
            assumed,
            cold_start_seconds=measured,
            revival_share=len(revivals) / len(lone),
            revival_seconds=median(revivals) if revivals else assumed.revival_seconds,
            throttled_share=0.0,  # what was waited for machines is among the starts that were measured
        ),
        cold,
    )


def _warm(request: LoggedRequest, extra: float, warm: float, least_delay: float) -> float:
    """Without what a first run took longer: it waited as for a start, and ran nearer to a first run than to others."""
    is_first = (request.delay_seconds or 0.0) >= least_delay and request.execution_seconds > warm + extra / 2
    seconds = request.execution_seconds - (extra if is_first else 0.0)
    return max(seconds, _LEAST_SECONDS)
