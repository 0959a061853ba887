"""``comfypod batch plan``: what a batch would take, before anything is rented."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from comfypod.cli.commands.batch import demands, manifest

app = typer.Typer()

_OFFERS = "What can be rented"


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
    objective: demands.Objective = "balanced",
    deadline: demands.Deadline = None,
    budget: demands.Budget = None,
    pods: demands.Pods = None,
    most_pods: demands.MostPods = None,
    payload_cap: demands.PayloadCap = demands.PAYLOAD_CAP,
    gpu_memory: demands.GPUMemory = None,
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
    from comfypod.cli.batch.manifest_choice import ManifestChoice
    from comfypod.cli.batch.plan import PlanCommand, plan_batch

    choice = ManifestChoice(
        source, kind, query, template, parameters or (), ignored or (), models_toml, assume_size, offline
    )
    wanted = demands.demands_of(
        objective=objective,
        deadline=deadline,
        budget=budget,
        pods=pods or 1,
        most_pods=most_pods,
        payload_cap=payload_cap,
        gpu_memory=gpu_memory,
    )
    command = PlanCommand(
        choice=choice,
        offers_file=offers,
        provider=provider,
        ask_provider=ask_provider,
        demands=wanted,
        question=what_if,
        output=output,
        as_json=as_json,
    )
    sys.exit(plan_batch(command))
