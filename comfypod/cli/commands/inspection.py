"""Commands that look at what is there: workflows, settings, the whole set-up, reference pages."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from comfypod.cli.commands.jobs import BaseUrlOption, KeyOption

app = typer.Typer()
_workflow = typer.Typer(no_args_is_help=True, help="Look at a workflow before it is sent.")
app.add_typer(_workflow, name="workflow")

_ComfyUI = Annotated[
    str | None,
    typer.Option("--comfyui", metavar="URL", envvar="COMFYUI_URL", help="A running ComfyUI, to ask for its classes."),
]
_AsJSON = Annotated[bool, typer.Option("--json", help="As JSON.")]
_File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help='A workflow (API format, or as ComfyUI\'s page saves it), a job ({"input": …}), a template or its name.',
    ),
]


@_workflow.command("check")
def workflow_check(file: _File, comfyui: _ComfyUI = None, as_json: _AsJSON = False) -> None:
    """Say what a worker would answer, before anything is sent. Exit code 0: it would run; 2: it would be refused."""
    from comfypod.cli.workflow.check import check_command

    sys.exit(check_command(file, comfyui, as_json=as_json))


@_workflow.command("parameters")
def workflow_parameters(
    file: _File,
    comfyui: _ComfyUI = None,
    # Not from the environment: to ask an endpoint may start a worker, which costs.
    endpoint: Annotated[
        str | None, typer.Option(metavar="ID", help="Ask a worker of this endpoint on RunPod; it runs nothing.")
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="Start a local RunPod, and ask its worker.")] = False,
    base_url: BaseUrlOption = None,
    api_key: KeyOption = None,
    as_json: _AsJSON = False,
) -> None:
    """List what can be set with --set, and the model and input files that are named."""
    from comfypod.cli.connection import Target
    from comfypod.cli.workflow.parameters import parameters_command

    target = Target(endpoint, api_key, base_url, local=local) if endpoint or local else None
    sys.exit(parameters_command(file, comfyui, target, as_json=as_json))


@_workflow.command("convert")
def workflow_convert(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What ComfyUI's page saved.")],
    output: Annotated[Path | None, typer.Option(help="Where to write it. Default: stdout.", dir_okay=False)] = None,
    comfyui: _ComfyUI = None,
) -> None:
    """Write the API format of a workflow that ComfyUI's page saved."""
    from comfypod.cli.workflow.convert import convert_command

    sys.exit(convert_command(file, output, comfyui))


@app.command()
def settings(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Default: all.")] = None,
    as_json: _AsJSON = False,
) -> None:
    """Show the worker's settings as they are now, and what is wrong with them (exit code 2). Secrets stay hidden."""
    from comfypod.cli.settings_view import show_settings

    sys.exit(show_settings(names or (), os.environ, as_json=as_json))


@app.command()
def doctor(
    endpoint: Annotated[str | None, typer.Option(envvar="RUNPOD_ENDPOINT_ID", help="An endpoint to look at.")] = None,
    base_url: Annotated[
        str | None, typer.Option(envvar="RUNPOD_ENDPOINT_BASE_URL", help="Another address than RunPod's own.")
    ] = None,
    bucket: Annotated[bool, typer.Option("--bucket", help="It is a problem if no bucket is set.")] = False,
    start: Annotated[
        bool, typer.Option("--start", help="Also start ComfyUI, run a self-test on it, and end it.")
    ] = False,
    as_json: _AsJSON = False,
) -> None:
    """Check this machine, the repository and the endpoint: what is wrong, and how to mend it. Exit code 1: problems."""
    from comfypod.cli.doctor.command import DoctorOptions, doctor_command

    sys.exit(
        doctor_command(DoctorOptions(endpoint, base_url, needs_bucket=bucket, starts_comfyui=start), as_json=as_json)
    )


@app.command()
def reference(
    document: Annotated[str, typer.Argument(help="settings (Markdown) or hub (the env list of hub.json)")],
) -> None:
    """Print a reference page that is generated from the code."""
    from comfypod.cli.reference import render

    print(render(document), end="")
