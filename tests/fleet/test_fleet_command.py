"""``comfypod fleet simulate`` as a process, and its page and chart."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from comfypod.cli.fleet import endpoint_settings
from comfypod.cli.fleet_chart import chart
from comfypod.errors import ConfigurationError
from comfypod.fleet.calibration import uncalibrated
from comfypod.fleet.frontier import advise, frontier
from comfypod.fleet.page import study_page
from comfypod.fleet.prices import price_of
from comfypod.fleet.settings import Conditions, EndpointSettings, Scaler
from comfypod.fleet.simulation import simulate
from comfypod.fleet.study import FleetStudy
from comfypod.fleet.traffic import TrafficKind, generate

_ROOT = Path(__file__).parents[2]
_CONDITIONS = Conditions(price_per_second=0.00031)
_HOSTILE = "<script>alert(1)</script>"


def _study() -> FleetStudy:
    trace = generate(TrafficKind.BURSTY, 300)
    points = [EndpointSettings(), EndpointSettings(idle_seconds=60), EndpointSettings(active_workers=2)]
    outcomes = [simulate(trace, point, _CONDITIONS) for point in points]
    return FleetStudy(
        traffic=_HOSTILE,
        conditions=_CONDITIONS,
        calibration=uncalibrated("the requests were drawn", _CONDITIONS),
        outcomes=outcomes,
        best=frontier(outcomes),
        what_ifs=[("as it is", outcomes[0])],
        advice=advise(outcomes, lambda settings, seed: simulate(trace, settings, _CONDITIONS, seed=seed)),
        notes=[_HOSTILE],
    )


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_the_page_needs_nothing_from_elsewhere_and_escapes_what_it_was_told() -> None:
    study = _study()
    page = _Page()

    text = study_page(study)
    page.feed(text)

    assert "script" not in page.tags
    assert page.addresses == []
    assert page.tags.count("circle") >= len(study.outcomes)
    assert "Not calibrated: the requests were drawn." in text


def test_the_chart_has_every_mark() -> None:
    drawn = chart(_study())

    assert all(mark in drawn for mark in ("x present", " a day", "p95"))
    body = drawn.rpartition("\n")[0]
    assert "x" in body
    assert "o" in body


def test_the_command_reads_a_log_and_says_that_it_is_not_calibrated(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    rows = "".join(f"{1000 + 300 * number},8,{20 + number % 3}\n" for number in range(60))
    log.write_text(f"arrived_at,execution_seconds,delay_seconds\n{rows}")
    page = tmp_path / "page.html"

    told = _command(str(log), "--json", "--output", str(page), "--gpu", "AMPERE_16")

    document = json.loads(told.stdout)
    assert document["calibrated"] is False
    assert document["calibration"].startswith("Not calibrated: the log has 60 requests")
    assert document["conditions"]["price_per_second"] == 0.00016
    assert max(document["conditions"]["cold_start_seconds"]) == 22
    assert document["current"]["requests"] == 60
    assert "<svg" in page.read_text()


def test_options_that_do_not_go_together_are_refused() -> None:
    neither = _command()

    assert neither.returncode == 2
    assert "one of LOG, --database and --traffic" in neither.stderr
    with pytest.raises(ConfigurationError, match="QUEUE_DELAY, REQUEST_COUNT"):
        endpoint_settings("LUCK", None, idle_seconds=5, active_workers=0, max_workers=3, concurrency=1)
    with pytest.raises(ConfigurationError, match="AMPERE_16"):
        price_of("ABACUS")


def test_each_scaler_has_a_value_of_its_own() -> None:
    by_count = endpoint_settings("REQUEST_COUNT", None, idle_seconds=5, active_workers=0, max_workers=3, concurrency=1)

    assert by_count == EndpointSettings(scaler=Scaler.REQUEST_COUNT, scaler_value=1)


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "comfypod", "fleet", "simulate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, timeout=120, check=False)
