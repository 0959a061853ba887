"""Whether the simulation can be believed: a logged day, simulated with the settings that it ran under. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

from comfypod.fleet.fitting import Fit
from comfypod.fleet.log import RequestLog
from comfypod.fleet.outcome import percentile
from comfypod.fleet.settings import Conditions, EndpointSettings, Scaler, ScaleUp
from comfypod.fleet.simulation import simulate

MOST_P95_OFF: Final = 0.15
MOST_DOLLARS_OFF: Final = 0.05
LEAST_REQUESTS: Final = 100
_SEEDS = (0, 1, 2)
_LEAST_SECONDS = 0.001
_MANY_REQUESTS = 20_000
"""From here on one seed will do."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """``verdict`` is a sentence that begins with "Calibrated" or "Not calibrated"; ``conditions``, those that fit best.

    What is compared, in seconds and dollars, is None where the log or the caller did not say it.
    """

    is_calibrated: bool
    verdict: str
    conditions: Conditions
    logged_p95_seconds: float | None = None
    simulated_p95_seconds: float | None = None
    logged_dollars: float | None = None
    simulated_dollars: float | None = None


@dataclass(frozen=True, slots=True)
class _Day:
    """As it was."""

    p95_seconds: float
    dollars: float | None


def uncalibrated(reason: str, conditions: Conditions) -> Calibration:
    """Nothing was compared; ``reason`` is a clause."""
    return Calibration(is_calibrated=False, verdict=f"Not calibrated: {reason}.", conditions=conditions)


def calibrate(log: RequestLog, fitted: Fit, settings: EndpointSettings, spent_dollars: float | None) -> Calibration:
    """Replay the log; where the platform's rule is not documented, the reading that comes nearer is taken.

    Args:
        log: of the day; it has to say how long requests waited.
        fitted: of this log.
        settings: under which it ran.
        spent_dollars: what RunPod took for that day's workers; positive.
    """
    latencies = sorted(seconds for request in log.requests if (seconds := request.latency_seconds) is not None)
    if len(latencies) < len(log.requests):
        return uncalibrated("the log does not say how long every request waited", fitted.conditions)
    if len(latencies) < LEAST_REQUESTS:
        return uncalibrated(
            f"the log has {len(latencies)} requests, and {LEAST_REQUESTS} are needed", fitted.conditions
        )
    logged = _Day(max(percentile(latencies, 0.95), _LEAST_SECONDS), spent_dollars)
    readings = tuple(ScaleUp) if settings.scaler is Scaler.QUEUE_DELAY else (fitted.conditions.scale_up,)
    replays = [_replay(log, fitted, settings, reading, logged) for reading in readings]
    return min(replays, key=_distance)


def _replay(log: RequestLog, fitted: Fit, settings: EndpointSettings, reading: ScaleUp, logged: _Day) -> Calibration:
    trace = log.trace(fitted.execution_seconds)
    conditions = replace(fitted.conditions, scale_up=reading)
    seeds = _SEEDS if len(trace) < _MANY_REQUESTS else _SEEDS[:1]
    outcomes = [simulate(trace, settings, conditions, seed=seed) for seed in seeds]
    p95 = fmean(outcome.p95_seconds for outcome in outcomes)
    dollars = fmean(outcome.dollars for outcome in outcomes)
    is_near = _off(p95, logged.p95_seconds) <= MOST_P95_OFF
    is_paid = logged.dollars is not None and _off(dollars, logged.dollars) <= MOST_DOLLARS_OFF
    allowed = f"p95 may be {MOST_P95_OFF:.0%} off, dollars {MOST_DOLLARS_OFF:.0%}".replace("%", " %")
    money = "but nobody said what the day cost" if logged.dollars is None else f"paid ${logged.dollars:.2f}"
    return Calibration(
        is_calibrated=is_near and is_paid,
        verdict=f"{'Calibrated' if is_near and is_paid else 'Not calibrated'}: simulated p95 {p95:.1f} s, logged "
        f"{logged.p95_seconds:.1f} s; simulated ${dollars:.2f}, {money} ({allowed}).",
        conditions=conditions,
        logged_p95_seconds=logged.p95_seconds,
        simulated_p95_seconds=p95,
        logged_dollars=logged.dollars,
        simulated_dollars=dollars,
    )


def _off(simulated: float, logged: float) -> float:
    return abs(simulated / logged - 1.0)


def _distance(replay: Calibration) -> float:
    p95 = _off(replay.simulated_p95_seconds or 0.0, replay.logged_p95_seconds or 1.0) / MOST_P95_OFF
    if replay.logged_dollars is None:
        return p95
    return p95 + _off(replay.simulated_dollars or 0.0, replay.logged_dollars) / MOST_DOLLARS_OFF
