"""When workers are started and stopped, as tables: demand and workers in, decision out."""

from __future__ import annotations

import pytest

from comfypod.emulator.fleet.options import FleetOptions, Scaler
from comfypod.emulator.fleet.scaling import Decision, WorkerState, WorkerView, decide
from comfypod.emulator.platform.jobs import Demand

NOTHING = Demand(0, 0.0, 0)
STATES = {
    "i": WorkerState.INITIALIZING,
    "w": WorkerState.IDLE,  # waits
    "n": WorkerState.IDLE,  # is new: it has had no job yet
    "r": WorkerState.RUNNING,
    "u": WorkerState.UNHEALTHY,
    "f": WorkerState.FROZEN,
    "e": WorkerState.ENDING,
}


def workers(states: str, seconds: float = 0.0) -> list[WorkerView]:
    """One worker per letter, each for so long in its state; ids are letter and place."""
    return [
        WorkerView(f"{letter}{place}", STATES[letter], seconds, is_fresh=letter in "in")
        for place, letter in enumerate(states)
    ]


def delay(minimum: int = 0, maximum: int = 3, value: float = 4.0, idle_seconds: float = 5.0) -> FleetOptions:
    return FleetOptions(
        command=["worker"],
        min_workers=minimum,
        max_workers=maximum,
        scaler_value=value,
        idle_seconds=idle_seconds,
    )


def count(value: float, minimum: int = 0, maximum: int = 3) -> FleetOptions:
    return FleetOptions(
        command=["worker"],
        min_workers=minimum,
        max_workers=maximum,
        scaler=Scaler.REQUEST_COUNT,
        scaler_value=value,
    )


@pytest.mark.fact("C4-queue-delay")
@pytest.mark.parametrize(
    ("queued", "wait", "present", "start"),
    [
        (0, 0.0, "", 0),
        (1, 0.0, "", 1),  # nobody is there: the first job starts a worker at once
        (50, 9.0, "", 1),  # one at a time
        (1, 3.9, "r", 0),
        (1, 4.0, "r", 0),
        (1, 4.1, "r", 1),
        (9, 99.0, "ri", 0),  # one is on its way
        (9, 99.0, "rn", 0),  # one has just come
        (9, 99.0, "rw", 1),  # it is between two jobs, and the others wait all the same
        (9, 99.0, "rr", 1),
        (9, 99.0, "rrr", 0),  # the maximum
        (9, 99.0, "rre", 0),  # one that ends still counts
        (9, 99.0, "rru", 0),
        (9, 99.0, "rrff", 1),  # those frozen do not
        (1, 0.1, "f", 1),
    ],
)
def test_queue_delay_adds_one_worker_when_a_job_has_waited_too_long(
    queued: int, wait: float, present: str, start: int
) -> None:
    assert decide(Demand(queued, wait, present.count("r")), workers(present), delay()).start == start


def test_a_new_worker_that_takes_nothing_is_not_waited_for_longer_than_the_value() -> None:
    demand = Demand(1, 99.0, 0)
    assert decide(demand, workers("n", seconds=4.0), delay()).start == 0
    assert decide(demand, workers("n", seconds=4.1), delay()).start == 1


@pytest.mark.fact("C4-request-count")
@pytest.mark.parametrize(
    ("value", "queued", "present", "wanted", "start"),
    [
        (4, 0, "", 0, 0),
        (4, 1, "", 1, 1),
        (4, 4, "", 1, 1),
        (4, 5, "", 2, 2),  # all at once, without any wait
        (4, 4, "r", 2, 1),
        (4, 0, "r", 1, 0),
        (4, 99, "", 3, 3),
        (1, 2, "ri", 3, 1),
        (1, 9, "rre", 3, 0),
        (2.5, 3, "", 2, 2),
    ],
)
def test_request_count_wants_a_worker_for_every_so_many_jobs(
    value: float, queued: int, present: str, wanted: int, start: int
) -> None:
    decision = decide(Demand(queued, 0.0, present.count("r")), workers(present), count(value))
    assert (decision.wanted, decision.start) == (wanted, start)


@pytest.mark.fact("C4-active-workers")
@pytest.mark.parametrize("options", [delay(minimum=2), count(4, minimum=2)])
@pytest.mark.parametrize(("present", "start"), [("", 2), ("r", 1), ("i", 1), ("w", 1), ("u", 2), ("ww", 0), ("rrr", 0)])
def test_there_are_never_fewer_than_the_active_workers(options: FleetOptions, present: str, start: int) -> None:
    assert decide(NOTHING, workers(present), options).start == start


@pytest.mark.fact("C4-max-workers")
@pytest.mark.parametrize("options", [delay(minimum=3), count(1)])
@pytest.mark.parametrize("present", ["rrr", "rru", "eee", "iii", "uue"])
def test_there_are_never_more_processes_than_max_workers(options: FleetOptions, present: str) -> None:
    assert decide(Demand(99, 99.0, 3), workers(present), options).start == 0


@pytest.mark.fact("C4-idle-timeout")
@pytest.mark.parametrize("options", [delay(), count(4)])
def test_idle_workers_are_stopped_after_the_idle_timeout_the_longest_idle_first(options: FleetOptions) -> None:
    several = [
        WorkerView("short", WorkerState.IDLE, 4.9),
        WorkerView("long", WorkerState.IDLE, 5.0),
        WorkerView("longest", WorkerState.IDLE, 7.0),
    ]
    assert decide(NOTHING, several, options).stop == ("longest", "long")


@pytest.mark.fact("C4-active-workers")
def test_active_workers_are_kept_however_long_they_are_idle() -> None:
    assert decide(NOTHING, workers("ww", seconds=99.0), delay(minimum=2)) == Decision(wanted=2)
    assert decide(NOTHING, workers("www", seconds=99.0), delay(minimum=2)).stop == ("w0",)


@pytest.mark.parametrize("state", "ireuf")
def test_only_an_idle_worker_is_ever_stopped(state: str) -> None:
    assert decide(NOTHING, workers(state, seconds=9999.0), delay()).stop == ()


@pytest.mark.parametrize("options", [delay(), count(4)])
def test_no_worker_is_stopped_while_a_job_waits(options: FleetOptions) -> None:
    assert decide(Demand(1, 0.0, 0), workers("ww", seconds=99.0), options).stop == ()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"command": []}, "command"),
        ({"min_workers": 4}, "4 of 3"),
        ({"min_workers": -1}, "-1 of 3"),
        ({"idle_seconds": 3601}, "3600"),
        ({"idle_seconds": float("nan")}, "idle"),
        ({"scaler_value": 0}, "QUEUE_DELAY"),
        ({"scaler": Scaler.REQUEST_COUNT, "scaler_value": 0.5}, "at least 1"),
        ({"scaler": "LOAD"}, "QUEUE_DELAY or REQUEST_COUNT"),
        ({"price_per_second": -1}, "price"),
        ({"price_per_second": float("inf")}, "price"),
        ({"environment": {"RUNPOD_INIT_TIMEOUT": "soon"}}, "RUNPOD_INIT_TIMEOUT"),
        ({"environment": {"RUNPOD_INIT_TIMEOUT": "inf"}}, "RUNPOD_INIT_TIMEOUT"),
        ({"initialization_seconds": 0}, "RUNPOD_INIT_TIMEOUT"),
        ({"stop_seconds": -1}, "end"),
    ],
)
def test_options_that_make_no_sense_are_refused_with_a_sentence(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        FleetOptions(**{"command": ["worker"], **wrong})


@pytest.mark.fact("C4-defaults")
def test_the_defaults_are_the_platforms() -> None:
    options = FleetOptions(command=["worker"])
    assert (options.min_workers, options.max_workers, options.idle_seconds) == (0, 3, 5)
    assert (options.scaler, options.scaler_value) == ("QUEUE_DELAY", 4)


@pytest.mark.fact("C6-init-timeout")
def test_a_worker_may_take_seven_minutes_to_start_or_what_the_variable_says() -> None:
    assert FleetOptions(command=["worker"]).start_limit_seconds == 420
    longer = FleetOptions(command=["worker"], environment={"RUNPOD_INIT_TIMEOUT": "800"})
    assert longer.start_limit_seconds == 800
