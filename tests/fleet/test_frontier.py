"""Grids, frontiers, and what is recommended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfypod.fleet.frontier import advise, distinct, frontier, grid
from comfypod.fleet.outcome import Outcome
from comfypod.fleet.settings import Conditions, EndpointSettings, Scaler
from comfypod.fleet.simulation import simulate
from comfypod.fleet.traffic import TrafficKind, generate


def _outcome(dollars: float, p95: float, idle: float = 5.0, *, keeps_up: bool = True) -> Outcome:
    return Outcome(
        settings=EndpointSettings(idle_seconds=idle),
        requests=500,
        seconds=86400.0,
        dollars=dollars,
        billed_seconds=1,
        used_share=0.2,
        cold_share=0.5,
        starts=1,
        most_workers=1,
        p50_seconds=p95 / 2,
        p95_seconds=p95,
        p99_seconds=p95,
        mean_seconds=p95 / 2,
        keeps_up=keeps_up,
    )


_PRESENT = _outcome(4.0, 70.0, 5)
_CHEAPER = _outcome(3.0, 69.0, 1)
_DEARER = _outcome(5.0, 71.0, 2)
_FAST = _outcome(28.0, 7.7, 900)
_ALL = [_PRESENT, _CHEAPER, _DEARER, _FAST]


def _same_again(settings: EndpointSettings, seed: int) -> Outcome:
    return next(outcome for outcome in _ALL if outcome.settings == settings)


def test_the_frontier_is_what_no_other_beats() -> None:
    assert frontier(_ALL) == [_CHEAPER, _FAST]
    assert distinct([_CHEAPER, replace(_CHEAPER, dollars=3.5, p95_seconds=68.0), _FAST]) == [_CHEAPER, _FAST]


def test_the_same_p95_for_less_is_recommended_and_the_price_of_speed_told() -> None:
    advice = advise(_ALL, _same_again)

    assert advice.recommended == _CHEAPER
    cheaper, speed = advice.sentences
    assert cheaper == "QUEUE_DELAY 4 s, idle 1 s, max 3: same p95, 25 % cheaper ($3.00 instead of $4.00 a day)."
    assert "9.3 times as much: $28.00 a day for p95 7.7 s instead of 69.0 s" in speed


def test_what_was_only_luck_is_not_recommended() -> None:
    def unlucky(settings: EndpointSettings, seed: int) -> Outcome:
        return replace(_PRESENT, settings=settings)

    advice = advise(_ALL, unlucky)

    assert advice.recommended is None
    assert advice.sentences[0].startswith("Keep QUEUE_DELAY 4 s, idle 5 s, max 3")


def test_wishes_are_kept_or_said_to_be_impossible() -> None:
    assert advise(_ALL, _same_again, most_p95_seconds=10).recommended == _FAST
    assert advise(_ALL, _same_again, most_dollars_per_day=3.5).recommended == _CHEAPER
    assert "the least is 7.7 s" in advise(_ALL, _same_again, most_p95_seconds=5).sentences[0]
    assert "the cheapest is $3.00" in advise(_ALL, _same_again, most_dollars_per_day=1).sentences[0]


def test_settings_with_a_growing_queue_are_never_recommended() -> None:
    growing = _outcome(0.5, 3.0, 2, keeps_up=False)

    assert advise([*_ALL, growing], _same_again).recommended == _CHEAPER


@pytest.mark.parametrize("requests", [500, 500_000])
def test_grids_begin_with_the_present_settings_and_keep_to_max_workers(requests: int) -> None:
    present = EndpointSettings(scaler_value=7, max_workers=1)

    points = grid(present, requests)

    assert points[0] == present
    assert len(set(points)) == len(points)
    assert {point.max_workers for point in points} == {1}
    assert {point.scaler for point in points} == set(Scaler)


def test_a_hobby_endpoint_pays_many_times_as_much_for_not_waiting() -> None:
    """Few requests a day: keeping a worker there costs most of a day, whatever the scaler does."""
    trace = generate(TrafficKind.POISSON, 480, execution_seconds=5.0)
    conditions = Conditions(price_per_second=0.00034, cold_start_seconds=(13.0,), first_run_seconds=10.0)
    outcomes = [simulate(trace, point, conditions) for point in grid(EndpointSettings(), len(trace))]

    advice = advise(outcomes, lambda settings, seed: simulate(trace, settings, conditions, seed=seed))

    assert advice.recommended is not None
    assert advice.recommended.dollars < 0.9 * outcomes[0].dollars
    assert "v2 refuses it" in advice.sentences[1]
    factor = float(advice.sentences[-1].partition(" times")[0].rpartition(" ")[2])
    assert 5 < factor < 10


def test_warm_models_are_worth_more_than_any_setting() -> None:
    trace = generate(TrafficKind.BURSTY, 1200, hours=8)
    slow = Conditions(price_per_second=0.00034, first_run_seconds=45.0)
    outcomes = [simulate(trace, point, slow) for point in grid(EndpointSettings(max_workers=5), len(trace))]
    warm = simulate(trace, outcomes[0].settings, replace(slow, first_run_seconds=10.0))

    assert warm.dollars < min(outcome.dollars for outcome in outcomes)
    assert warm.p95_seconds < 0.7 * outcomes[0].p95_seconds
