"""Two models of one endpoint, written apart, over the same day; and calibration against the other one's log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfypod.emulator.fleet.options import FleetOptions
from comfypod.emulator.fleet.options import Scaler as EmulatorScaler
from comfypod.fleet.calibration import calibrate
from comfypod.fleet.fitting import fit
from comfypod.fleet.log import RequestLog, read_log
from comfypod.fleet.outcome import percentile
from comfypod.fleet.settings import Conditions, EndpointSettings, Scaler
from comfypod.fleet.simulation import simulate
from comfypod.fleet.traffic import Trace, TrafficKind, generate
from tests.fleet.emulated_fleet import EmulatedFleet

_STARTS = tuple(10.0 + second for second in range(8))
_PRICE = 0.00034
_FIRST_RUN = 20.0
_DAY = generate(TrafficKind.BURSTY, 1500, hours=10, seed=2)


def _emulated(trace: Trace, endpoint: EndpointSettings) -> EmulatedFleet:
    fleet = EmulatedFleet(
        FleetOptions(
            command=["x"],
            scaler=EmulatorScaler(endpoint.scaler.value),
            scaler_value=endpoint.scaler_value,
            max_workers=endpoint.max_workers,
            idle_seconds=endpoint.idle_seconds,
            price_per_second=_PRICE,
        ),
        cold_start=_STARTS,
        first_run=_FIRST_RUN,
        seed=11,
    )
    fleet.run(trace.arrivals, trace.execution_seconds)
    return fleet


@pytest.mark.parametrize(
    ("kind", "endpoint"),
    [
        (TrafficKind.BURSTY, EndpointSettings(max_workers=5)),
        (TrafficKind.BURSTY, EndpointSettings(scaler=Scaler.REQUEST_COUNT, scaler_value=2, idle_seconds=15)),
        (TrafficKind.POISSON, EndpointSettings(scaler_value=10, idle_seconds=60)),
    ],
    ids=str,
)
def test_the_simulation_agrees_with_the_local_runpods_scaler_and_bills(
    kind: TrafficKind, endpoint: EndpointSettings
) -> None:
    trace = generate(kind, 3000, hours=4, seed=5)
    conditions = Conditions(
        price_per_second=_PRICE, cold_start_seconds=_STARTS, first_run_seconds=_FIRST_RUN, pause_seconds=0.0
    )

    theirs = _emulated(trace, endpoint)
    ours = simulate(trace, endpoint, conditions, seed=11)

    latencies = sorted(request.latency_seconds for request in theirs.done)
    assert ours.requests == len(latencies)
    assert ours.dollars == pytest.approx(theirs.dollars, rel=0.03)
    for share, seconds in ((0.5, ours.p50_seconds), (0.95, ours.p95_seconds)):
        assert seconds == pytest.approx(percentile(latencies, share), rel=0.05)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[RequestLog, float]:
    """A day as the other model logged it, and what it cost."""
    fleet = _emulated(_DAY, EndpointSettings(max_workers=5))
    path = Path(tmp_path_factory.mktemp("day")) / "requests.jsonl"
    path.write_text(
        "".join(
            json.dumps(
                {
                    "arrived_at": 1_790_000_000 + request.arrived_at,
                    "delayTime": round(1000 * request.delay_seconds),
                    "executionTime": round(1000 * request.execution_seconds),
                    "status": "COMPLETED",
                }
            )
            + "\n"
            for request in fleet.done
        )
    )
    return read_log(path), fleet.dollars


_UNKNOWN = Conditions(price_per_second=_PRICE, cold_start_seconds=(60.0,), first_run_seconds=0.0, pause_seconds=0.0)


def test_starts_and_first_runs_are_measured_in_the_log(day: tuple[RequestLog, float]) -> None:
    log, _ = day

    fitted = fit(log, EndpointSettings(max_workers=5), _UNKNOWN)

    assert min(fitted.conditions.cold_start_seconds) == pytest.approx(10, abs=0.3)
    assert max(fitted.conditions.cold_start_seconds) == pytest.approx(17, abs=0.3)
    assert fitted.conditions.first_run_seconds == pytest.approx(_FIRST_RUN, abs=1.5)
    assert sum(fitted.execution_seconds) == pytest.approx(sum(_DAY.execution_seconds), rel=0.04)


def test_a_day_that_is_replayed_closely_calibrates(day: tuple[RequestLog, float]) -> None:
    log, dollars = day
    endpoint = EndpointSettings(max_workers=5)

    found = calibrate(log, fit(log, endpoint, _UNKNOWN), endpoint, dollars)

    assert found.is_calibrated, found.verdict
    assert found.verdict.startswith("Calibrated: ")


def test_the_wrong_settings_the_wrong_bill_or_none_do_not_calibrate(day: tuple[RequestLog, float]) -> None:
    log, dollars = day
    endpoint = EndpointSettings(max_workers=5)
    other = EndpointSettings(active_workers=2, max_workers=5)
    fitted = fit(log, endpoint, _UNKNOWN)

    for settings, spent in ((other, dollars), (endpoint, 1.2 * dollars), (endpoint, None)):
        found = calibrate(log, fitted, settings, spent)
        assert not found.is_calibrated
        assert found.verdict.startswith("Not calibrated: ")
    few = RequestLog(log.requests[:50])
    assert "50 requests" in calibrate(few, fit(few, endpoint, _UNKNOWN), endpoint, dollars).verdict


def test_the_documentations_example_calibrates() -> None:
    """Of another emulated day: what the how-to shows is what a reader sees."""
    log = read_log(Path(__file__).parents[2] / "docs/examples/requests.csv")
    endpoint = EndpointSettings(max_workers=5)

    found = calibrate(log, fit(log, endpoint, Conditions(price_per_second=0.00031)), endpoint, 1.69)

    assert found.is_calibrated, found.verdict
