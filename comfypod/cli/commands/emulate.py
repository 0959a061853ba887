"""``comfypod emulate …``: servers that behave like the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Servers that behave like the real ones, on this machine.")


@app.command("comfyui")
def emulate_comfyui(
    port: Annotated[int, typer.Option(help="0: any free port.")] = 8188,
    listen: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    base_directory: Annotated[Path, typer.Option(help="Folder for input, output, temp and models.")] = Path(
        ".comfypod/engine"
    ),
    input_directory: Annotated[Path | None, typer.Option(help="Folder of uploads, in place of input.")] = None,
    output_directory: Annotated[Path | None, typer.Option(help="Folder of saved files, in place of output.")] = None,
    temp_directory: Annotated[Path | None, typer.Option(help="Folder in which temp is made, and emptied.")] = None,
    models: Annotated[Path | None, typer.Option(help="models.toml, for the loaders' lists.")] = None,
    only_present_models: Annotated[
        bool, typer.Option("--only-present-models", help="List only the models whose files exist.")
    ] = False,
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
        EngineOptions(
            listen,
            port,
            base_directory,
            models,
            preview_method,
            tuple(fault or ()),
            accept_faults,
            only_present_models=only_present_models,
            input_directory=input_directory,
            output_directory=output_directory,
            temporary_directory=temp_directory,
        )
    )


@app.command("runpod")
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
