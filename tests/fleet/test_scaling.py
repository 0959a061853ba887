"""RunPod's rules: as documented, and as the local RunPod reads them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfypod.emulator.fleet.options import FleetOptions
from comfypod.emulator.fleet.options import Scaler as EmulatorScaler
from comfypod.emulator.fleet.scaling import WorkerState, WorkerView, decide
from comfypod.emulator.platform.gauges import Demand
from comfypod.errors import ConfigurationError
from comfypod.fleet.scaling import Load, wanted_workers
from comfypod.fleet.settings import EndpointSettings, Scaler, ScaleUp

_NOTHING = Load(queued=0, in_progress=0, late=0, active=0, starting=0, expired=0)
_ONE = ScaleUp.ONE_AT_A_TIME


@pytest.mark.parametrize(("requests", "value", "workers"), [(0, 1, 0), (1, 4, 1), (4, 4, 1), (5, 4, 2), (9, 1, 5)])
def test_request_count_wants_a_worker_for_every_so_many_requests(requests: int, value: int, workers: int) -> None:
    wanted = EndpointSettings(scaler=Scaler.REQUEST_COUNT, scaler_value=value, max_workers=5)

    assert wanted_workers(_NOTHING._replace(queued=requests), wanted, _ONE) == workers
    assert wanted_workers(_NOTHING._replace(in_progress=requests), wanted, _ONE) == workers


def test_queue_delay_adds_a_worker_when_a_request_waits_longer_than_the_value() -> None:
    default = EndpointSettings(max_workers=5)
    busy = _NOTHING._replace(queued=3, in_progress=2, active=2)

    assert wanted_workers(_NOTHING._replace(queued=1), default, _ONE) == 1
    assert wanted_workers(busy, default, _ONE) == 2
    assert wanted_workers(busy._replace(late=2), default, _ONE) == 3
    assert wanted_workers(busy._replace(late=2, active=3, starting=1), default, _ONE) == 3
    assert wanted_workers(busy._replace(late=2), default, ScaleUp.EACH_LATE) == 4
    assert wanted_workers(busy._replace(late=2, active=3, starting=1), default, ScaleUp.EACH_LATE) == 4


def test_active_and_max_workers_are_kept_to() -> None:
    some = EndpointSettings(active_workers=2, max_workers=4)

    assert wanted_workers(_NOTHING, some, _ONE) == 2
    assert wanted_workers(_NOTHING._replace(active=3, expired=3), some, _ONE) == 2
    assert wanted_workers(_NOTHING._replace(queued=9, late=9, active=4), some, ScaleUp.EACH_LATE) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"scaler_value": 0.4},
        {"scaler": Scaler.REQUEST_COUNT, "scaler_value": 0.5},
        {"idle_seconds": 0.5},
        {"idle_seconds": 3601},
        {"active_workers": 4},
        {"max_workers": 0},
        {"concurrency": 0},
        {"scaler_value": float("nan")},
    ],
)
def test_what_runpod_would_refuse_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        EndpointSettings(**wrong)


_ENDPOINTS = st.builds(
    lambda scaler, value, active, more: EndpointSettings(
        scaler=scaler, scaler_value=value, active_workers=active, max_workers=active + more
    ),
    st.sampled_from(list(Scaler)),
    st.integers(1, 6),
    st.integers(0, 3),
    st.integers(1, 5),
)
_WORKERS = st.lists(st.tuples(st.sampled_from(["initializing", "idle", "running"]), st.floats(0, 12)), max_size=8)


@settings(max_examples=200)
@given(endpoint=_ENDPOINTS, queued=st.integers(0, 12), wait=st.floats(0, 12), workers=_WORKERS)
def test_the_local_runpod_wants_as_many(
    endpoint: EndpointSettings, queued: int, wait: float, workers: list[tuple[str, float]]
) -> None:
    """Written apart from one another; on every state that the simulation can be in, they have to agree."""
    if queued:  # an idle worker takes what is in the queue: nothing is both
        workers = [(state, seconds) for state, seconds in workers if state != "idle"]
    states = [state for state, _ in workers]
    load = Load(
        queued=queued,
        in_progress=states.count("running"),
        late=queued if wait > endpoint.scaler_value else 0,
        active=len(workers),
        starting=states.count("initializing"),
        expired=sum(state == "idle" and seconds >= endpoint.idle_seconds for state, seconds in workers),
    )
    options = FleetOptions(
        command=["x"],
        scaler=EmulatorScaler(endpoint.scaler.value),
        scaler_value=endpoint.scaler_value,
        min_workers=endpoint.active_workers,
        max_workers=endpoint.max_workers,
        idle_seconds=endpoint.idle_seconds,
    )
    demand = Demand(queued=queued, longest_wait_seconds=wait if queued else 0.0, in_progress=states.count("running"))
    views = [WorkerView(str(number), WorkerState(state), seconds) for number, (state, seconds) in enumerate(workers)]

    assert wanted_workers(load, endpoint, _ONE) == decide(demand, views, options).wanted
