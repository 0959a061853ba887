"""``comfypod run`` and what else a person does with jobs on an endpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def run(
    input_file: Annotated[
        Path | None, typer.Option("--input", help='File with the job: {"input": …}.', exists=True, dir_okay=False)
    ] = None,
    workflow: Annotated[
        str | None, typer.Option(help="API-format workflow file, or the name of a template on the worker.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Text for the template.")] = None,
    parameters: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter, or NODE.INPUT; repeatable.")
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Option("--file", metavar="PATH", help="A file that the workflow loads; or NAME=PATH, NAME=ADDRESS."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for what the job makes.", file_okay=False)] = Path("outputs"),
    local: Annotated[bool, typer.Option("--local", help="Start a local RunPod with one worker for this job.")] = False,
    endpoint: Annotated[str | None, typer.Option(envvar="RUNPOD_ENDPOINT_ID", help="The endpoint's id.")] = None,
    base_url: Annotated[
        str | None, typer.Option(envvar="RUNPOD_ENDPOINT_BASE_URL", help="Another address than RunPod's own.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(envvar="RUNPOD_API_KEY", hidden=True)] = None,
) -> None:
    """Run one job, show its progress, and save what it makes. The API key comes from RUNPOD_API_KEY."""
    from comfypod.cli.job_input import GivenJob
    from comfypod.cli.run import RunOptions, run_command

    options = RunOptions(output, local, endpoint, api_key, base_url)
    given = GivenJob(input_file, workflow, prompt, parameters or (), files or ())
    sys.exit(run_command(given, options))
