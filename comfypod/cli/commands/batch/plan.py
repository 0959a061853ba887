"""``comfypod batch plan``: what a batch would take, before anything is rented."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from comfypod.cli.commands.batch import manifest

app = typer.Typer()

_LIMITS, _OFFERS = "Limits", "What can be rented"


@app.command(
    epilog="Examples:\n\n"
    "  comfypod batch plan pictures.jsonl --deadline 6h --budget 5\n\n"
    "  comfypod batch plan pictures.jsonl --what-if deadline\n\n"
    "  comfypod batch plan pictures.csv --template text_to_image --offers offers.toml --output plan.json\n\n"
    "How plans are made, and what a file of offers holds: docs/explanation/batch-planning.md."
)
def plan(
    source: manifest.Source,
    kind: manifest.Kind = None,
    query: manifest.Query = None,
    template: manifest.Template = None,
    parameters: manifest.Parameters = None,
    ignored: manifest.Ignored = None,
    models_toml: manifest.ModelsTOML = manifest.MODELS_TOML,
    assume_size: manifest.AssumeSize = None,
    offline: manifest.Offline = False,
    objective: Annotated[
        Literal["cost", "early", "balanced"],
        typer.Option(help="What the order on each pod is good at: the shortest time, early results, or both."),
    ] = "balanced",
    deadline: Annotated[
        str | None, typer.Option(metavar="6h", help="The last pod ends by then.", rich_help_panel=_LIMITS)
    ] = None,
    budget: Annotated[
        float | None, typer.Option(metavar="DOLLARS", min=0.0, help="It costs no more.", rich_help_panel=_LIMITS)
    ] = None,
    pods: Annotated[int, typer.Option(min=1, max=10_000, help="At least so many.", rich_help_panel=_LIMITS)] = 1,
    most_pods: Annotated[int | None, typer.Option(min=1, help="At most so many.", rich_help_panel=_LIMITS)] = None,
    payload_cap: Annotated[
        float,
        typer.Option(metavar="GB", min=0.001, help="Model files on one pod at most.", rich_help_panel=_LIMITS),
    ] = 120.0,
    gpu_memory: Annotated[
        float | None,
        typer.Option(
            metavar="GB",
            min=0.0,
            help="That every item needs. Default: its largest model file and 2 GB.",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    offers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prices and speeds. Default: as published.", rich_help_panel=_OFFERS),
    ] = None,
    provider: Annotated[
        Literal["local", "runpod", "serverless"] | None,
        typer.Option(help="Only what this one has. Default: all.", rich_help_panel=_OFFERS),
    ] = None,
    ask_provider: Annotated[
        bool,
        typer.Option("--ask-provider", help="Ask it for what there is now, and for prices.", rich_help_panel=_OFFERS),
    ] = False,
    what_if: Annotated[
        Literal["deadline", "gpu", "price"] | None,
        typer.Option("--what-if", help="Instead: the plans for other deadlines, single types, or other prices."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the plan there, for batch run --plan.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Plan a manifest: which pods, for how long, for how much, and how far that is from the best that can be."""
    from comfypod.batch.documents import GIGABYTE
    from comfypod.batch.planning import Demands
    from comfypod.cli.batch.durations import parse_duration
    from comfypod.cli.batch.manifest_choice import ManifestChoice
    from comfypod.cli.batch.plan import PlanCommand, plan_batch

    choice = ManifestChoice(
        source, kind, query, template, parameters or (), ignored or (), models_toml, assume_size, offline
    )
    demands = Demands(
        objective=objective,
        deadline_seconds=None if deadline is None else parse_duration(deadline),
        budget_dollars=budget,
        payload_cap_bytes=round(payload_cap * GIGABYTE),
        least_pods=pods,
        most_pods=most_pods,
        gpu_memory_bytes=None if gpu_memory is None else round(gpu_memory * GIGABYTE),
    )
    command = PlanCommand(
        choice=choice,
        offers_file=offers,
        provider=provider,
        ask_provider=ask_provider,
        demands=demands,
        question=what_if,
        output=output,
        as_json=as_json,
    )
    sys.exit(plan_batch(command))
