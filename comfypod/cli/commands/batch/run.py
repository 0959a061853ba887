"""``comfypod batch run | status | watch | pause | resume | cancel``: a batch carried out, and looked after."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from comfypod.cli.commands.batch import demands, manifest
from comfypod.cli.commands.database import DATABASE, DatabaseOption

app = typer.Typer()

_PLAN, _WHERE, _PODS = "Plan", "Where", "Pods"
_Batch = Annotated[
    str | None, typer.Argument(metavar="[BATCH]", help="How its identifier begins. Default: the newest one.")
]


@app.command(
    epilog="Examples:\n\n"
    "  comfypod batch run pictures.jsonl --local\n\n"
    "  comfypod batch run pictures.csv --template text_to_image --provider runpod --image IMAGE --deadline 6h "
    "--budget 5 --results bucket --public-url https://…\n\n"
    "  comfypod batch run pictures.jsonl --plan plan.json --provider runpod …\n\n"
    "Killed, or stopped, and started again with the same manifest, it goes on. Ctrl-C lets pods finish what they are "
    "at; once more ends them at once. Exit code 0: all items succeeded; 3: some failed; 1: the budget is spent."
)
def run(
    source: manifest.Source,
    kind: manifest.Kind = None,
    query: manifest.Query = None,
    template: manifest.Template = None,
    parameters: manifest.Parameters = None,
    ignored: manifest.Ignored = None,
    models_toml: manifest.ModelsTOML = manifest.MODELS_TOML,
    assume_size: manifest.AssumeSize = None,
    offline: manifest.Offline = False,
    local: Annotated[
        bool, typer.Option("--local", help="On this machine: --provider local --pods 2, with the built-in engine.")
    ] = False,
    provider: Annotated[
        Literal["local", "runpod", "skypilot", "serverless"],
        typer.Option(
            help="Who has the machines: this one, RunPod's pods, SkyPilot, whose tasks you launch, or an endpoint of "
            "RunPod."
        ),
    ] = "local",
    plan_file: Annotated[
        Path | None,
        typer.Option(
            "--plan", metavar="FILE", help="Carry out this plan (batch plan --output).", rich_help_panel=_PLAN
        ),
    ] = None,
    offers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What can be rented: prices and speeds.", rich_help_panel=_PLAN),
    ] = None,
    objective: demands.Objective = "balanced",
    deadline: demands.Deadline = None,
    budget: demands.Budget = None,
    pods: demands.Pods = None,
    most_pods: demands.MostPods = None,
    payload_cap: demands.PayloadCap = demands.PAYLOAD_CAP,
    gpu_memory: demands.GPUMemory = None,
    results: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|URL|bucket",
            help="Where results go: a folder here, an address that takes PUT, or the workers' bucket. "
            "Default: outputs/BATCH.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    archives: Annotated[
        bool, typer.Option("--archives", help="One zip file for each item.", rich_help_panel=_WHERE)
    ] = False,
    database: DatabaseOption = DATABASE,
    host: Annotated[str, typer.Option("--host", "--bind", help="Address to listen at.", rich_help_panel=_WHERE)] = (
        "127.0.0.1"
    ),
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0: the batch's last one, else any.", rich_help_panel=_WHERE)
    ] = 0,
    public_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="By which pods reach this coordinator.", rich_help_panel=_WHERE),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(metavar="IMAGE", envvar="COMFYPOD_IMAGE", help="That pods run.", rich_help_panel=_PODS),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="ID", envvar="RUNPOD_ENDPOINT_ID", help="For --provider serverless.", rich_help_panel=_PODS
        ),
    ] = None,
    at_once: Annotated[
        int, typer.Option(min=1, max=1000, help="Jobs on the endpoint at most.", rich_help_panel=_PODS)
    ] = 10,
) -> None:
    """Plan a manifest, show the plan, and carry it out to its end: every item is made once, whatever dies meanwhile."""
    from comfypod.batch.coordinator.server import ServerOptions
    from comfypod.cli.batch.manifest_choice import ManifestChoice
    from comfypod.cli.batch.run import RunCommand, run_batch

    choice = ManifestChoice(
        source, kind, query, template, parameters or (), ignored or (), models_toml, assume_size, offline
    )
    wanted = demands.demands_of(
        objective=objective,
        deadline=deadline,
        budget=budget,
        pods=pods or (2 if local else 1),
        most_pods=most_pods,
        payload_cap=payload_cap,
        gpu_memory=gpu_memory,
    )
    command = RunCommand(
        choice=choice,
        plan_file=plan_file,
        provider="local" if local else provider,
        offers_file=offers,
        demands=wanted,
        results=results,
        archives=archives,
        database=database,
        server=ServerOptions(host, port, public_url),
        image=image,
        endpoint=endpoint,
        at_once=at_once,
    )
    sys.exit(run_batch(command))


@app.command()
def status(
    batch: Annotated[
        str | None, typer.Argument(metavar="[BATCH]", help="How its identifier begins. Default: all of them.")
    ] = None,
    database: DatabaseOption = DATABASE,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, one object a line.")] = False,
) -> None:
    """Show how far batches are, and what they have cost."""
    from comfypod.cli.batch.desk import show_status

    show_status(database, batch, as_json=as_json)


@app.command()
def watch(
    batch: _Batch = None,
    database: DatabaseOption = DATABASE,
    once: Annotated[bool, typer.Option("--once", help="Show it once, and end.")] = False,
) -> None:
    """Show a batch live, from wherever its database can be reached: pods, items, downloads, dollars, and the end."""
    from comfypod.cli.batch.watch import watch_command

    watch_command(database, batch, once=once)


@app.command()
def pause(batch: _Batch = None, database: DatabaseOption = DATABASE) -> None:
    """Begin nothing more; pods finish what they are at."""
    from comfypod.cli.batch.desk import change_state

    change_state(database, batch, "paused")


@app.command()
def resume(batch: _Batch = None, database: DatabaseOption = DATABASE) -> None:
    """Let a paused or cancelled batch go on."""
    from comfypod.cli.batch.desk import change_state

    change_state(database, batch, "running")


@app.command()
def cancel(batch: _Batch = None, database: DatabaseOption = DATABASE) -> None:
    """Stop a batch for good, and end its pods; what is delivered stays."""
    from comfypod.cli.batch.desk import change_state

    change_state(database, batch, "cancelled")
