"""``comfypod fleet …``: which settings of an endpoint fit its requests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Which settings of an endpoint fit its requests.")


@app.callback()
def fleet() -> None:
    """Which settings of an endpoint fit its requests."""


@app.command(
    epilog="Examples:\n\n"
    "  comfypod fleet simulate requests.jsonl --spent 4.20 --output settings.html\n\n"
    "  comfypod fleet simulate --database sqlite:///comfypod.sqlite --hours 24 --p95 20\n\n"
    "  comfypod fleet simulate --traffic diurnal:10000 --execution-seconds 6 --max-workers 10\n\n"
    "The scaler's options say what the endpoint has now, and had when the log was written: "
    "docs/how-to/choose-scaler-settings.md."
)
def simulate(
    log: Annotated[
        Path | None,
        typer.Argument(
            metavar="[LOG]", help="Requests as JSON lines or CSV: arrived_at, execution_seconds, delay_seconds."
        ),
    ] = None,
    database: Annotated[
        str | None, typer.Option(metavar="URL", help="Instead of a log: the master's database, its last --hours.")
    ] = None,
    traffic: Annotated[
        str | None,
        typer.Option(
            metavar="KIND:PER_DAY", help="Instead of a log: requests that are drawn; poisson, bursty or diurnal."
        ),
    ] = None,
    hours: Annotated[float, typer.Option(min=0.1, max=24 * 31, help="Of the database, or of drawn traffic.")] = 24,
    execution_seconds: Annotated[
        float, typer.Option(min=0.05, max=86400, help="Of drawn traffic: on average, on a warm worker.")
    ] = 10,
    scaler: Annotated[str, typer.Option(help="QUEUE_DELAY or REQUEST_COUNT.")] = "QUEUE_DELAY",
    scaler_value: Annotated[
        float | None,
        typer.Option(help="Seconds, or requests per worker. Default: 4 s, or 1 request.", show_default=False),
    ] = None,
    idle_seconds: Annotated[float, typer.Option(help="The idle timeout.")] = 5,
    active_workers: Annotated[int, typer.Option(help="Workers that are always there.")] = 0,
    max_workers: Annotated[int, typer.Option(help="The most workers.")] = 3,
    concurrency: Annotated[int, typer.Option(help="Requests that a worker takes at a time: WORKER_CONCURRENCY.")] = 1,
    gpu: Annotated[
        str | None,
        typer.Option(metavar="POOL", help="ADA_24, AMPERE_48 … Default: the first one of .runpod/hub.json."),
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0.0, metavar="DOLLARS", help="Of a second, instead of --gpu's list price.")
    ] = None,
    cold_start_seconds: Annotated[
        float, typer.Option(min=0.0, help="From started to ready, where the log does not show it.")
    ] = 13,
    first_run_seconds: Annotated[
        float,
        typer.Option(min=0.0, help="What the first request of a worker takes longer, where the log does not show it."),
    ] = 45,
    flashboot_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Starts that are revivals of 2 s, where the log does not show it.")
    ] = 0,
    throttled_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Starts that first wait a minute for a machine.")
    ] = 0,
    spent: Annotated[
        float | None,
        typer.Option(
            min=0.000001,
            metavar="DOLLARS",
            help="What RunPod took for the log's time: to calibrate.",
            show_default=False,
        ),
    ] = None,
    p95: Annotated[
        float | None, typer.Option(min=0.0, metavar="SECONDS", help="Recommend the cheapest with this p95 or less.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(min=0.0, metavar="DOLLARS", help="Recommend the fastest for so much a day.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page, as HTML.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Simulate an endpoint's scaler over requests, and recommend settings: dollars against waiting."""
    from comfypod.cli.fleet import Assumptions, FleetCommand, Source, endpoint_settings, simulate_command

    simulate_command(
        FleetCommand(
            source=Source(log, database, traffic, hours, execution_seconds),
            settings=endpoint_settings(
                scaler,
                scaler_value,
                idle_seconds=idle_seconds,
                active_workers=active_workers,
                max_workers=max_workers,
                concurrency=concurrency,
            ),
            assumptions=Assumptions(
                gpu, price, cold_start_seconds, first_run_seconds, flashboot_share, throttled_share
            ),
            spent_dollars=spent,
            most_p95_seconds=p95,
            most_dollars_per_day=budget,
            seed=seed,
            output=output,
            as_json=as_json,
        )
    )
