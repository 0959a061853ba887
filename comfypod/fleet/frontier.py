"""Which settings are worth having: a grid of them, those that no other beats, and one to take. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

from comfypod.fleet.outcome import Outcome
from comfypod.fleet.settings import EndpointSettings, Scaler

MANY_REQUESTS: Final = 30_000
"""From here on a simulation takes seconds, and the grid is a smaller one."""
_SAME = 1.02
"""A p95 that is no more than this of another's is the same."""
_WORTH_CHANGING = 0.03
_CONFIRMING_SEEDS = (1, 2, 3)
_MOST_CONFIRMED = 5
_NEARLY_FASTEST = 1.1
_MOST_ACTIVE = 5
_DISTINCT = 0.95

Simulate = Callable[[EndpointSettings, int], Outcome]
"""Settings and a seed, to what they lead to."""


@dataclass(frozen=True, slots=True)
class Advice:
    """Settings to take, if others than the present ones, and why, in sentences; the first is the recommendation."""

    recommended: Outcome | None
    sentences: tuple[str, ...]


def grid(current: EndpointSettings, requests: int) -> list[EndpointSettings]:
    """Settings around those that there are; the present ones are the first. Max workers and concurrency stay."""
    is_large = requests >= MANY_REQUESTS
    possible = set(range(current.max_workers + 1))
    values = {
        Scaler.QUEUE_DELAY: (4.0,) if is_large else (2.0, 4.0, 15.0),
        Scaler.REQUEST_COUNT: (1.0, 2.0, 4.0),
    }
    idles = (1.0, 5.0, 30.0, 120.0) if is_large else (1.0, 5.0, 30.0, 120.0, 900.0)
    actives = sorted({0, 1, 2, current.active_workers, min(current.max_workers, _MOST_ACTIVE)} & possible)
    points = [
        replace(current, scaler=scaler, scaler_value=value, idle_seconds=idle, active_workers=active)
        for scaler, its_values in values.items()
        for value in its_values
        for idle in idles
        for active in (actives[:2] if is_large else actives)
    ]
    return list(dict.fromkeys([current, *points]))


def frontier(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those that no other beats in both dollars and p95, the cheapest first."""
    best: list[Outcome] = []
    for outcome in sorted(outcomes, key=lambda each: (each.dollars, each.p95_seconds)):
        if not best or outcome.p95_seconds < best[-1].p95_seconds:
            best.append(outcome)
    return best


def distinct(best: Sequence[Outcome]) -> list[Outcome]:
    """Of a frontier those that are worth a line: each with a p95 that is clearly less than that of the one before."""
    kept: list[Outcome] = []
    for outcome in best:
        if not kept or outcome.p95_seconds <= _DISTINCT * kept[-1].p95_seconds:
            kept.append(outcome)
    return kept


def advise(
    outcomes: Sequence[Outcome],
    simulate: Simulate,
    *,
    most_p95_seconds: float | None = None,
    most_dollars_per_day: float | None = None,
) -> Advice:
    """One recommendation, and what waiting less would cost. ``outcomes[0]`` is of the present settings.

    A wish is one of ``most_p95_seconds`` (the cheapest that keeps it) and ``most_dollars_per_day`` (the fastest that
    keeps it); without any: the same p95 for less. What is recommended was simulated with other seeds, too.
    """
    current = outcomes[0]
    candidates = [outcome for outcome in outcomes if outcome.keeps_up]
    if most_dollars_per_day is not None:
        found, sentence = _fastest_within(candidates, most_dollars_per_day)
    elif most_p95_seconds is not None:
        found, sentence = _cheapest_within(candidates, most_p95_seconds)
    else:
        found, sentence = _cheaper(candidates, current, simulate)
    return Advice(found, (sentence, *_how_to_set(found), *_price_of_speed(candidates, found or current)))


def _fastest_within(candidates: Sequence[Outcome], most: float) -> tuple[Outcome | None, str]:
    affordable = [outcome for outcome in candidates if outcome.dollars_per_day <= most]
    if not affordable:
        least = min((outcome.dollars_per_day for outcome in candidates), default=0.0)
        return None, f"Nothing here costs ${most:.2f} a day or less; the cheapest is ${least:.2f}."
    best = min(affordable, key=lambda outcome: (outcome.p95_seconds, outcome.dollars))
    return best, f"{best.settings}: p95 {best.p95_seconds:.1f} s for ${best.dollars_per_day:.2f} a day."


def _cheapest_within(candidates: Sequence[Outcome], most: float) -> tuple[Outcome | None, str]:
    quick = [outcome for outcome in candidates if outcome.p95_seconds <= most]
    if not quick:
        least = min((outcome.p95_seconds for outcome in candidates), default=0.0)
        return None, f"No settings here have a p95 of {most:g} s or less; the least is {least:.1f} s."
    best = min(quick, key=lambda outcome: (outcome.dollars, outcome.p95_seconds))
    return best, f"{best.settings}: ${best.dollars_per_day:.2f} a day, p95 {best.p95_seconds:.1f} s."


def _cheaper(candidates: Sequence[Outcome], current: Outcome, simulate: Simulate) -> tuple[Outcome | None, str]:
    same = [each for each in candidates if each.p95_seconds <= _SAME * current.p95_seconds]
    cheaper = [each for each in same if each.dollars <= (1 - _WORTH_CHANGING) * current.dollars]
    seeds = _CONFIRMING_SEEDS[:1] if current.requests >= MANY_REQUESTS else _CONFIRMING_SEEDS
    present = [simulate(current.settings, seed) for seed in seeds] if cheaper else []
    for candidate in sorted(cheaper, key=lambda each: each.dollars)[:_MOST_CONFIRMED]:
        again = [simulate(candidate.settings, seed) for seed in seeds]
        saving = 1 - _mean_dollars(again) / _mean_dollars(present)
        p95, its_p95 = _mean_p95(present), _mean_p95(again)
        if saving >= _WORTH_CHANGING and its_p95 <= _SAME * p95:
            waiting = "same p95" if its_p95 >= p95 / _SAME else f"p95 {its_p95:.1f} s instead of {p95:.1f} s"
            return candidate, (
                f"{candidate.settings}: {waiting}, {round(100 * saving)} % cheaper "
                f"(${candidate.dollars_per_day:.2f} instead of ${current.dollars_per_day:.2f} a day)."
            )
    return None, f"Keep {current.settings}: nothing here is cheaper with the same p95 ({current.p95_seconds:.1f} s)."


def _how_to_set(found: Outcome | None) -> tuple[str, ...]:
    """RunPod's REST v2: workers.idleTimeout is rejected with REQUEST_COUNT on endpoints that have a queue."""
    if found is None or found.settings.scaler is not Scaler.REQUEST_COUNT:
        return ()
    return ("Set the idle timeout in the console or by REST v1: v2 refuses it together with REQUEST_COUNT.",)


def _price_of_speed(candidates: Sequence[Outcome], base: Outcome) -> tuple[str, ...]:
    """What hardly anybody says: how dear it is not to wait, where few requests come."""
    if not candidates:
        return ()
    least = min(outcome.p95_seconds for outcome in candidates)
    nearly = [outcome for outcome in candidates if outcome.p95_seconds <= _NEARLY_FASTEST * least]
    fast = min(nearly, key=lambda outcome: outcome.dollars)
    if not base.dollars or fast.dollars <= 1.1 * base.dollars:
        return ()
    sentence = (
        f"To wait as little as can be costs {fast.dollars / base.dollars:.1f} times as much: "
        f"${fast.dollars_per_day:.2f} a day for p95 {fast.p95_seconds:.1f} s instead of {base.p95_seconds:.1f} s "
        f"({fast.settings})."
    )
    return (sentence,)


def _mean_dollars(outcomes: Sequence[Outcome]) -> float:
    return fmean(outcome.dollars for outcome in outcomes)


def _mean_p95(outcomes: Sequence[Outcome]) -> float:
    return fmean(outcome.p95_seconds for outcome in outcomes)
