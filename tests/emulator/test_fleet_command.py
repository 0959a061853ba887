"""``comfypod emulate runpod``: what its options mean, and how it refuses those that make no sense."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from comfypod.cli.commands.emulate import app
from comfypod.cli.emulate_runpod import RunPodCommand, fleet_options, platform_options, read_limits, serve_runpod
from comfypod.emulator.fleet.options import Scaler
from comfypod.emulator.platform.requests import Limits
from comfypod.errors import ConfigurationError


def command(**options: Any) -> RunPodCommand:
    base = {"host": "127.0.0.1", "port": 0, "endpoint_id": "local", "api_key": "local", "cost": 0.00031}
    return RunPodCommand(**{**base, "worker_command": f"{sys.executable} -c pass", **options})


@pytest.mark.parametrize(
    ("given", "minimum", "maximum"),
    [
        ({}, 1, 1),  # one worker that is there at once and stays
        ({"workers": 2}, 2, 2),
        ({"max_workers": 5}, 0, 5),
        ({"min_workers": 2}, 2, 3),
        ({"min_workers": 4}, 4, 4),
        ({"min_workers": 1, "max_workers": 2}, 1, 2),
        ({"min_workers": 0}, 0, 3),
    ],
)
def test_numbers_of_workers(given: dict[str, int], minimum: int, maximum: int) -> None:
    options = fleet_options(command(**given))
    assert options is not None
    assert (options.min_workers, options.max_workers) == (minimum, maximum)


@pytest.mark.parametrize("given", [{"workers": 0}, {"max_workers": 0}])
def test_without_workers_there_is_no_fleet_and_no_worker_script_is_needed(given: dict[str, int]) -> None:
    assert fleet_options(command(**given, worker_command=None)) is None


def test_options_reach_the_fleet_and_the_platform(tmp_path: Path) -> None:
    given = command(
        max_workers=2,
        idle_seconds=9.0,
        scaler="REQUEST_COUNT",
        scaler_value=2.0,
        cost=0.5,
        bill_initializing=False,
        worker_command="worker 'one argument'",
        environment=["GREETING=a=b"],
        log=tmp_path / "log",
        switches=["late_progress=overwrites"],
        faults=["latency:route=status,seconds=0.5"],
        accept_faults=True,
        limits=["lost_job_seconds=2.5", "run_bytes=1000"],
        rate_limits=False,
        state_file=tmp_path / "state",
    )
    fleet, platform = fleet_options(given), platform_options(given)
    assert fleet is not None
    assert fleet.command == ["worker", "one argument"]
    assert (fleet.idle_seconds, fleet.scaler, fleet.scaler_value) == (9.0, Scaler.REQUEST_COUNT, 2.0)
    assert (fleet.price_per_second, fleet.bill_initializing) == (0.5, False)
    assert fleet.environment == {"GREETING": "a=b"}
    assert fleet.log_of("w") == tmp_path / "log"
    assert platform.switches.late_progress == "overwrites"
    assert [fault.kind for fault in platform.faults] == ["latency"]
    assert (platform.limits.lost_job_seconds, platform.limits.run_bytes) == (2.5, 1000)
    assert (platform.accept_faults, platform.rate_limits) == (True, None)
    assert platform.state_file == tmp_path / "state"


def test_limits_are_the_platforms_where_nothing_is_said() -> None:
    assert read_limits([]) == Limits()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"workers": 1, "max_workers": 2}, "--workers N means"),
        ({"min_workers": 3, "max_workers": 2}, "3 of 2"),
        ({"worker_command": ""}, "command is empty"),
        ({"worker_command": "a 'b"}, "--worker-command .* cannot be read"),
        ({"worker_command": "no-such-program"}, "no-such-program"),
        ({"log": Path("/no/such/folder/log")}, "for the workers' log"),
        ({"idle_seconds": -1.0}, "idle timeout"),
        ({"cost": -0.1}, "price"),
        ({"scaler_value": 0.0}, "QUEUE_DELAY"),
        ({"environment": ["NOVALUE"]}, "--env wants NAME=VALUE"),
        ({"environment": ["RUNPOD_INIT_TIMEOUT=never"]}, "RUNPOD_INIT_TIMEOUT"),
        ({"limits": ["lost_job_seconds"]}, "--limit wants NAME=VALUE"),
        ({"limits": ["no_such=1"]}, "lost_job_seconds"),
        ({"limits": ["run_bytes=1.5"]}, "whole number"),
        ({"limits": ["lost_job_seconds=nan"]}, "number of 0 or more"),
        ({"limits": ["lost_job_seconds=1.9"]}, "lost_job_seconds.*at least 2"),
        ({"limits": ["silent_worker_seconds=1"]}, "silent_worker_seconds.*at least 2"),
        ({"endpoint_id": "a/b"}, "endpoint's id"),
        ({"api_key": ""}, "API key"),
        ({"host": "0.0.0.0", "api_key": ""}, "API key"),  # noqa: S104
        ({"switches": ["no_such=1"]}, "no_such"),
        ({"faults": ["no_such:"]}, "no_such"),
        ({"host": "0.0.0.0"}, "choose a key"),  # noqa: S104
        ({"host": "not an address"}, "choose a key"),
        ({"host": "not an address", "api_key": "secret"}, "cannot start at not an address"),
        ({"state_file": Path("/no/such/folder/state")}, "cannot start"),
    ],
)
def test_what_makes_no_sense_ends_with_a_sentence(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        serve_runpod(command(**options))


def test_the_key_is_not_shown_where_the_command_is() -> None:
    assert "s3cret" not in repr(command(api_key="s3cret"))


def test_without_a_worker_script_it_says_where_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"no rp_handler\.py here"):
        fleet_options(command(worker_command=None))


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_port_that_does_not_exist_is_refused(port: str) -> None:
    outcome = CliRunner().invoke(app, ["runpod", "--workers", "0", "--port", port])
    assert outcome.exit_code == 2
    assert "--port" in outcome.output
