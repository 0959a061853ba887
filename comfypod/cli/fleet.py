"""``comfypod fleet simulate``: a log, or drawn requests, through settings of an endpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import track

from comfypod.batch.wording import in_time
from comfypod.cli.batch.pages import write_page
from comfypod.cli.display import is_interactive
from comfypod.cli.fleet_chart import chart
from comfypod.cli.printing import write_error
from comfypod.cli.reports import print_json, print_line, print_table, print_text
from comfypod.errors import ConfigurationError
from comfypod.fleet.calibration import Calibration, calibrate, uncalibrated
from comfypod.fleet.fitting import fit
from comfypod.fleet.frontier import advise, distinct, frontier, grid
from comfypod.fleet.log import RequestLog, read_log
from comfypod.fleet.outcome import Outcome
from comfypod.fleet.page import COLUMNS, figures, study_page
from comfypod.fleet.prices import price_of
from comfypod.fleet.settings import Conditions, EndpointSettings, Scaler
from comfypod.fleet.simulation import simulate
from comfypod.fleet.study import FleetStudy
from comfypod.fleet.traffic import Trace, TrafficKind, generate

_HUB: Final = Path(".runpod/hub.json")
_DEFAULT_POOL: Final = "ADA_24"
_MOST_DRAWN: Final = 2_000_000
_PRELOADED_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where requests come from: one of the first three."""

    log: Path | None
    database: str | None
    traffic: str | None
    hours: float
    execution_seconds: float


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is not measured, or cannot be in this log."""

    gpu: str | None
    price: float | None
    cold_start_seconds: float
    first_run_seconds: float
    flashboot_share: float
    throttled_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetCommand:
    """What was asked for."""

    source: Source
    settings: EndpointSettings
    assumptions: Assumptions
    spent_dollars: float | None
    most_p95_seconds: float | None
    most_dollars_per_day: float | None
    seed: int
    output: Path | None
    as_json: bool


def endpoint_settings(
    scaler: str, value: float | None, *, idle_seconds: float, active_workers: int, max_workers: int, concurrency: int
) -> EndpointSettings:
    """The settings that the options name.

    Raises:
        ConfigurationError: RunPod would refuse them.
    """
    if scaler not in Scaler.__members__:
        raise ConfigurationError([f"The scaler is one of {', '.join(Scaler)}."])
    return EndpointSettings(
        scaler=Scaler(scaler),
        scaler_value=value if value is not None else (4.0 if scaler == Scaler.QUEUE_DELAY else 1.0),
        idle_seconds=idle_seconds,
        active_workers=active_workers,
        max_workers=max_workers,
        concurrency=concurrency,
    )


def simulate_command(command: FleetCommand) -> None:
    """Simulate, and print what was found.

    Raises:
        ConfigurationError: options exclude each other, or a log cannot be read.
        StoreUnavailable: the database does not answer.
        SavingFailed: the page cannot be written.
    """
    study = _study(command)
    if command.output is not None:
        write_page(command.output, study_page(study))
    if command.as_json:
        print_json(study.document())
    else:
        _print_study(study)
    if command.output is not None:
        write_error(f"Wrote {command.output}.")


def _study(command: FleetCommand) -> FleetStudy:
    trace, calibration, notes, traffic = _requests(command)
    conditions = calibration.conditions
    points = grid(command.settings, len(trace))

    def run(settings: EndpointSettings, seed: int) -> Outcome:
        return simulate(trace, settings, conditions, seed=seed)

    outcomes = [run(settings, command.seed) for settings in _tracked(points)]
    advice = advise(
        outcomes,
        run,
        most_p95_seconds=command.most_p95_seconds,
        most_dollars_per_day=command.most_dollars_per_day,
    )
    what_ifs = [
        (name, simulate(trace, settings, changed, seed=command.seed))
        for name, settings, changed in _changes(command.settings, conditions)
    ]
    return FleetStudy(traffic, conditions, calibration, outcomes, frontier(outcomes), what_ifs, advice, notes)


def _requests(command: FleetCommand) -> tuple[Trace, Calibration, list[str], str]:
    """What comes, whether it can be believed, what is assumed, and all of it in words."""
    source = command.source
    if sum(given is not None for given in (source.log, source.database, source.traffic)) != 1:
        raise ConfigurationError(["Give one of LOG, --database and --traffic."])
    conditions, price_note = _assumed(command.assumptions)
    if source.traffic is not None:
        trace = _drawn(source, command.seed)
        notes = [price_note, _assumed_note(conditions)]
        return (
            trace,
            uncalibrated("the requests were drawn", conditions),
            notes,
            _words(trace, f"{source.traffic}, drawn"),
        )
    log = _logged(source)
    fitted = fit(log, command.settings, conditions)
    calibration = calibrate(log, fitted, command.settings, command.spent_dollars)
    trace = log.trace(fitted.execution_seconds)
    left_out = [f"{log.left_out} rows of requests that did not run were left out."] if log.left_out else []
    return trace, calibration, [price_note, *fitted.notes, *left_out], _words(trace, "as logged")


def _logged(source: Source) -> RequestLog:
    if source.log is not None:
        return read_log(source.log)
    from comfypod.fleet.store_log import read_store  # noqa: PLC0415 (SQLAlchemy, only where it is needed)

    return read_store(source.database or "", source.hours)


def _drawn(source: Source, seed: int) -> Trace:
    kind, _, number = (source.traffic or "").partition(":")
    per_day = 0.0
    with suppress(ValueError):
        per_day = float(number)
    if kind not in list(TrafficKind) or not 0 < per_day * source.hours / 24 <= _MOST_DRAWN:
        kinds = ", ".join(TrafficKind)
        raise ConfigurationError([f"Traffic is KIND:PER_DAY, such as poisson:500; kinds are {kinds}."])
    trace = generate(
        TrafficKind(kind),
        per_day,
        hours=source.hours,
        execution_seconds=source.execution_seconds,
        seed=seed,
    )
    if not len(trace):
        raise ConfigurationError(["So few requests that none was drawn; take more --hours."])
    return trace


def _assumed(assumptions: Assumptions) -> tuple[Conditions, str]:
    pool = assumptions.gpu or _pool_of_hub() or _DEFAULT_POOL
    price = price_of(pool) if assumptions.price is None else assumptions.price
    conditions = Conditions(
        price_per_second=price,
        cold_start_seconds=(assumptions.cold_start_seconds,),
        first_run_seconds=assumptions.first_run_seconds,
        revival_share=assumptions.flashboot_share,
        throttled_share=assumptions.throttled_share,
    )
    source = "as told" if assumptions.price is not None else f"{pool}, RunPod's list of August 2026"
    return conditions, f"A second of a worker costs ${price:g}: {source}."


def _pool_of_hub() -> str | None:
    """The first GPU pool of the repository's own hub listing, if it is there."""
    try:
        pools = json.loads(_HUB.read_text(encoding="utf-8"))["config"]["gpuIds"]
        return str(pools).split(",")[0].strip() or None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _assumed_note(conditions: Conditions) -> str:
    return (
        f"Starts take {conditions.cold_start_seconds[0]:g} s, and first runs {conditions.first_run_seconds:g} s "
        "longer: assumed. Your own log shows what they take."
    )


def _words(trace: Trace, how: str) -> str:
    busy = sum(trace.execution_seconds) / len(trace)
    return f"{len(trace):,} requests in {in_time(trace.seconds)} ({how}), {busy:.1f} s each on a warm worker."


def _changes(settings: EndpointSettings, conditions: Conditions) -> list[tuple[str, EndpointSettings, Conditions]]:
    """What is no setting of the scaler, and may be worth more than all of them."""
    first = conditions.first_run_seconds
    changes = [
        (
            f"first runs {seconds:g} s longer instead of {first:.3g}",
            settings,
            replace(conditions, first_run_seconds=seconds),
        )
        for seconds in (_PRELOADED_SECONDS, 0.0)
        if seconds < first
    ]
    twice = replace(settings, max_workers=min(1000, 2 * settings.max_workers))
    return [*changes, (f"max {twice.max_workers}", twice, conditions)]


def _tracked(points: Sequence[EndpointSettings]) -> Sequence[EndpointSettings]:
    console = Console(stderr=True)
    if not is_interactive(console):
        return points
    return track(points, "Simulating", console=console, transient=True)  # type: ignore[return-value]


def _print_study(study: FleetStudy) -> None:
    print_text(study.traffic)
    for note in study.notes:
        print_text(f"- {note}")
    print_line(*_verdict(study.calibration))
    print_text("")
    print_text(chart(study))
    recommended = study.advice.recommended
    rows = [("present", study.current)]
    if recommended is not None:
        rows.append(("take", recommended))
    rows += [("", outcome) for outcome in distinct(study.best) if outcome not in (study.current, recommended)]
    print_table(["", "settings", *COLUMNS], [(mark, str(each.settings), *figures(each)) for mark, each in rows])
    print_table(["the present settings, if", *COLUMNS], [(name, *figures(outcome)) for name, outcome in study.what_ifs])
    for sentence in study.advice.sentences:
        print_line("advice", sentence, "bold")


def _verdict(calibration: Calibration) -> tuple[str, str, str]:
    word, _, found = calibration.verdict.partition(": ")
    return word, found, "green" if calibration.is_calibrated else "bold red"
