"""``comfypod …``: the commands, each imported only when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from comfypod.cli.display import printable
from comfypod.errors import ComfyPodError, ConfigurationError, JobFailed

_EMULATORS_LIBRARIES = ("aiohttp", "numpy", "PIL")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run ComfyUI workflows on RunPod Serverless, or all of it on this machine.",
)
emulate = typer.Typer(no_args_is_help=True, help="Servers that behave like the real ones, on this machine.")
app.add_typer(emulate, name="emulate")


def main() -> None:
    """Run a command; a failure ends in one sentence on stderr and exit code 1."""
    try:
        app()
    except ComfyPodError as error:
        sys.exit(_last_word(error))
    except ModuleNotFoundError as error:
        if error.name not in _EMULATORS_LIBRARIES:
            raise
        missing = f"This command needs {error.name}: pip install 'comfypod[emulator]'."
        sys.exit(_last_word(ConfigurationError([missing])))


def _last_word(error: ComfyPodError) -> int:
    # Of a job that failed on the worker, the worker's code says more than ours.
    code = error.output.get("code", error.code) if isinstance(error, JobFailed) else error.code
    print(f"{printable(str(code))}: {printable(str(error))}", file=sys.stderr)
    return 1


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
    output: Annotated[Path, typer.Option(help="Folder for what the job makes.", file_okay=False)] = Path("outputs"),
    local: Annotated[bool, typer.Option("--local", help="Start a local RunPod with one worker for this job.")] = False,
    endpoint: Annotated[str | None, typer.Option(envvar="RUNPOD_ENDPOINT_ID", help="The endpoint's id.")] = None,
    base_url: Annotated[
        str | None, typer.Option(envvar="RUNPOD_ENDPOINT_BASE_URL", help="Another address than RunPod's own.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(envvar="RUNPOD_API_KEY", hidden=True)] = None,
) -> None:
    """Run one job, show its progress, and save what it makes. The API key comes from RUNPOD_API_KEY."""
    from comfypod.cli.run import RunOptions, run_command

    options = RunOptions(output, local, endpoint, api_key, base_url)
    sys.exit(run_command(input_file, workflow, prompt, parameters or [], options))


@emulate.command("comfyui")
def emulate_comfyui(
    port: Annotated[int, typer.Option(help="0: any free port.")] = 8188,
    listen: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    base_directory: Annotated[Path, typer.Option(help="Folder for input, output and temp.")] = Path(".comfypod/engine"),
    models: Annotated[Path | None, typer.Option(help="models.toml, for the loaders' lists.")] = None,
    preview_method: Annotated[str, typer.Option(help="none or auto: previews for prompts that do not say.")] = "none",
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="SPEC", help="What goes wrong, such as hang:node=KSampler,step=3; repeatable."),
    ] = None,
    accept_faults: Annotated[
        bool, typer.Option("--accept-faults", help="Let whoever reaches it plan faults at /emulator/faults.")
    ] = False,
) -> None:
    """Run the built-in engine: ComfyUI's protocol, and nodes that draw shapes. For development; it is not a model."""
    from comfypod.cli.emulate import EngineOptions, serve_comfyui

    serve_comfyui(
        EngineOptions(listen, port, base_directory, models, preview_method, tuple(fault or ()), accept_faults)
    )


@emulate.command("runpod")
def emulate_runpod(
    port: Annotated[int, typer.Option(help="0: any free port.")] = 8000,
    endpoint: Annotated[str, typer.Option(help="Id of the endpoint.")] = "local",
    api_key: Annotated[
        str, typer.Option(envvar="COMFYPOD_LOCAL_API_KEY", help="Key that clients must send.")
    ] = "local",
    workers: Annotated[int, typer.Option(min=0, max=8, help="Worker processes to keep running.")] = 1,
    worker_command: Annotated[
        str | None, typer.Option(help="Command of a worker; by default rp_handler.py of this repository.")
    ] = None,
) -> None:
    """Run a local RunPod: one endpoint, the real SDK's workers behind it."""
    from comfypod.cli.emulate import serve_runpod

    serve_runpod(port, endpoint, api_key, workers, worker_command)


@app.command()
def reference(
    document: Annotated[str, typer.Argument(help="settings (Markdown) or hub (the env list of hub.json)")],
) -> None:
    """Print a reference page that is generated from the code."""
    from comfypod.cli.reference import render

    print(render(document), end="")
