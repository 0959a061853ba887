"""Endpoints through traces that can be worked out by hand, and rules that hold for any."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfypod.fleet.outcome import percentile
from comfypod.fleet.settings import Conditions, EndpointSettings, Scaler, ScaleUp
from comfypod.fleet.simulation import simulate
from comfypod.fleet.traffic import Trace, TrafficKind, generate

_DOLLAR_A_SECOND = Conditions(
    price_per_second=1.0, cold_start_seconds=(10.0,), first_run_seconds=0.0, pause_seconds=0.0
)


def _conditions(**changes: Any) -> Conditions:
    values = {"price_per_second": 1.0, "cold_start_seconds": (10.0,), "first_run_seconds": 0.0, "pause_seconds": 0.0}
    return Conditions(**(values | changes))


def _trace(*arrivals: float, execution: float = 20.0, seconds: float = 1000.0) -> Trace:
    return Trace(arrivals, [execution] * len(arrivals), seconds)


def test_one_request_pays_the_start_its_run_and_the_idle_timeout() -> None:
    outcome = simulate(_trace(100.0), EndpointSettings(), _DOLLAR_A_SECOND)

    assert outcome.p50_seconds == pytest.approx(30)
    assert outcome.billed_seconds == 35
    assert outcome.dollars == 35.0
    assert outcome.cold_share == 1
    assert outcome.used_share == pytest.approx(20 / 35)


def test_the_first_run_of_a_worker_takes_longer_and_counts_as_no_use() -> None:
    outcome = simulate(_trace(0.0, 60.0), EndpointSettings(idle_seconds=100), _conditions(first_run_seconds=15.0))

    assert outcome.p99_seconds == pytest.approx(45)
    assert outcome.p50_seconds == pytest.approx(20)
    assert outcome.billed_seconds == 180
    assert outcome.cold_share == 0.5
    assert outcome.used_share == pytest.approx(40 / 180)


def test_seconds_are_rounded_up_for_every_start() -> None:
    outcome = simulate(_trace(0.0, 100.0, execution=0.1), EndpointSettings(), _DOLLAR_A_SECOND)

    assert outcome.starts == 2
    assert outcome.billed_seconds == 2 * 16


def test_queue_delay_adds_the_second_worker_after_the_delay() -> None:
    """The first is up at 10 and takes one request; the other has been late since 4, so the second worker starts."""
    outcome = simulate(_trace(0.0, 0.0, execution=100.0), EndpointSettings(), _DOLLAR_A_SECOND)

    assert outcome.starts == 2
    assert sorted([outcome.p50_seconds, outcome.p99_seconds]) == pytest.approx([110, 120])


def test_queue_delay_may_add_one_for_every_late_request() -> None:
    """At 4 s all three are late and one worker starts: two more, up at 14."""
    outcome = simulate(
        _trace(0.0, 0.0, 0.0, execution=100.0), EndpointSettings(), _conditions(scale_up=ScaleUp.EACH_LATE)
    )

    assert outcome.starts == 3
    assert outcome.p50_seconds == pytest.approx(114)
    assert outcome.p99_seconds == pytest.approx(114)


def test_request_count_starts_them_all_at_once() -> None:
    by_count = EndpointSettings(scaler=Scaler.REQUEST_COUNT, scaler_value=1, max_workers=3)

    outcome = simulate(_trace(0.0, 0.0, 0.0), by_count, _DOLLAR_A_SECOND)

    assert outcome.p99_seconds == pytest.approx(30)
    assert outcome.billed_seconds == 3 * 35


def test_with_one_worker_requests_wait_for_one_another_in_order() -> None:
    outcome = simulate(_trace(0.0, 1.0, 2.0), EndpointSettings(max_workers=1), _DOLLAR_A_SECOND)

    assert [outcome.p50_seconds, outcome.p99_seconds] == pytest.approx([49, 68])
    assert outcome.most_workers == 1


def test_active_workers_are_warm_and_paid_for_all_of_the_time() -> None:
    outcome = simulate(_trace(5.0), EndpointSettings(active_workers=2), _conditions(first_run_seconds=15.0))

    assert outcome.p99_seconds == pytest.approx(20)
    assert outcome.billed_seconds == 2000
    assert outcome.starts == 0


def test_a_worker_that_takes_two_holds_one_back_from_the_others() -> None:
    """The second request sits in the first worker: it is late for nobody, and no second worker is started."""
    outcome = simulate(_trace(0.0, 11.0, execution=100.0), EndpointSettings(concurrency=2), _DOLLAR_A_SECOND)

    assert outcome.starts == 1
    assert outcome.p99_seconds == pytest.approx(199)


def test_a_worker_that_takes_one_polls_between_two() -> None:
    outcome = simulate(_trace(0.0, 0.0), EndpointSettings(max_workers=1), _conditions(pause_seconds=0.5))

    assert outcome.p99_seconds == pytest.approx(50.5)


def test_revived_workers_are_up_at_once_and_have_no_first_run() -> None:
    conditions = _conditions(first_run_seconds=15.0, revival_share=1.0, revival_seconds=2.0)

    outcome = simulate(_trace(0.0), EndpointSettings(), conditions)

    assert outcome.p99_seconds == pytest.approx(22)
    assert outcome.cold_share == 0


def test_waiting_for_a_machine_is_not_paid() -> None:
    outcome = simulate(_trace(0.0), EndpointSettings(), _conditions(throttled_share=1.0, throttled_seconds=60.0))

    assert outcome.p99_seconds == pytest.approx(90)
    assert outcome.billed_seconds == 35


def test_a_queue_that_grows_is_told() -> None:
    endless = _trace(*(float(second) for second in range(900)))

    assert not simulate(endless, EndpointSettings(max_workers=1), _DOLLAR_A_SECOND).keeps_up
    assert simulate(endless, EndpointSettings(max_workers=40, active_workers=30), _DOLLAR_A_SECOND).keeps_up


def test_no_requests_cost_nothing_but_active_workers() -> None:
    nothing = Trace((), (), 100.0)

    assert simulate(nothing, EndpointSettings(), _DOLLAR_A_SECOND).dollars == 0
    assert simulate(nothing, EndpointSettings(active_workers=1), _DOLLAR_A_SECOND).dollars == 100


_ENDPOINTS = st.builds(
    EndpointSettings,
    scaler=st.sampled_from(list(Scaler)),
    scaler_value=st.integers(1, 10),
    idle_seconds=st.integers(1, 100),
    active_workers=st.integers(0, 2),
    max_workers=st.integers(2, 5),
    concurrency=st.integers(1, 3),
)


@settings(max_examples=60)
@given(
    gaps=st.lists(st.floats(0, 60), min_size=1, max_size=60),
    execution=st.floats(0.1, 50),
    endpoint=_ENDPOINTS,
    reading=st.sampled_from(list(ScaleUp)),
    seed=st.integers(0, 5),
)
def test_whatever_comes_every_request_ends_once_and_is_paid(
    gaps: list[float], execution: float, endpoint: EndpointSettings, reading: ScaleUp, seed: int
) -> None:
    arrivals = list(accumulate(gaps))
    trace = Trace(arrivals, [execution] * len(gaps), arrivals[-1] + 1.0)
    conditions = _conditions(
        cold_start_seconds=(1.0, 20.0), first_run_seconds=5.0, revival_share=0.3, throttled_share=0.2, scale_up=reading
    )

    outcome = simulate(trace, endpoint, conditions, seed=seed)

    assert outcome.requests == len(gaps)
    assert outcome.most_workers <= endpoint.max_workers
    assert outcome.p50_seconds >= execution - 1e-6
    assert outcome.billed_seconds >= execution * len(gaps) - 1e-6
    assert simulate(trace, endpoint, conditions, seed=seed) == outcome


def test_percentiles_are_of_requests_that_there_were() -> None:
    values = [float(value) for value in range(1, 101)]

    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([7.0], 0.95) == 7
    assert percentile([], 0.95) == 0


@pytest.mark.parametrize("kind", list(TrafficKind))
def test_drawn_traffic_is_as_much_as_was_asked_for(kind: TrafficKind) -> None:
    trace = generate(kind, 10_000, execution_seconds=6.0, seed=3)

    assert trace.per_day == pytest.approx(10_000, rel=0.1)
    assert sum(trace.execution_seconds) / len(trace) == pytest.approx(6.0, rel=0.05)
    assert list(trace.arrivals) == sorted(trace.arrivals)
    assert trace.arrivals == generate(kind, 10_000, execution_seconds=6.0, seed=3).arrivals


def test_nights_are_quiet_in_diurnal_traffic() -> None:
    arrivals = generate(TrafficKind.DIURNAL, 20_000).arrivals
    night = sum(2 * 3600 <= moment < 4 * 3600 for moment in arrivals)
    day = sum(14 * 3600 <= moment < 16 * 3600 for moment in arrivals)

    assert day > 5 * night


def test_bursts_come_close_together() -> None:
    arrivals = generate(TrafficKind.BURSTY, 1000).arrivals
    close = sum(later - earlier < 10 for earlier, later in pairwise(arrivals))

    assert close > 0.7 * len(arrivals)
