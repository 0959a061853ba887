"""``comfypod emulate …``: servers that behave like the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(no_args_is_help=True, help="Servers that behave like the real ones, on this machine.")

_MOST_WORKERS = 16


@app.command("comfyui")
def emulate_comfyui(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8188,
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


_SCALING, _COSTS, _PLATFORM = "Workers", "Costs", "How the platform behaves"


@app.command(
    "runpod",
    epilog="Examples:\n\n"
    "  comfypod emulate runpod\n\n"
    "  comfypod emulate runpod --max-workers 3 --cost 0.00031\n\n"
    "  comfypod emulate runpod --max-workers 2 --flash-boot --fault lose:chance=0.02,times=0 --state jobs.db",
)
def emulate_runpod(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8000,
    listen: Annotated[
        str, typer.Option(help="Address to listen at; beyond this machine only with a key.")
    ] = "127.0.0.1",
    endpoint: Annotated[str, typer.Option(help="Id of the endpoint.")] = "local",
    api_key: Annotated[
        str, typer.Option(envvar="COMFYPOD_LOCAL_API_KEY", help="Key that clients must send.")
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=_MOST_WORKERS,
            help="As many workers, always: the same as --min-workers N --max-workers N. Default: 1.",
            rich_help_panel=_SCALING,
        ),
    ] = None,
    min_workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=_MOST_WORKERS,
            help="Workers that are always there. Default: 0 with --max-workers.",
            rich_help_panel=_SCALING,
        ),
    ] = None,
    max_workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=_MOST_WORKERS,
            help="Workers there may be, started as jobs wait. Default: 3 with --min-workers.",
            rich_help_panel=_SCALING,
        ),
    ] = None,
    idle_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long a worker without a job stays.", rich_help_panel=_SCALING)
    ] = 5.0,
    scaler: Annotated[
        Literal["QUEUE_DELAY", "REQUEST_COUNT"],
        typer.Option(
            help="What makes it start workers: how long jobs wait, or how many there are.", rich_help_panel=_SCALING
        ),
    ] = "QUEUE_DELAY",
    scaler_value: Annotated[
        float, typer.Option(help="Seconds of wait, or jobs per worker.", rich_help_panel=_SCALING)
    ] = 4.0,
    flash_boot: Annotated[
        bool,
        typer.Option(
            "--flash-boot/--no-flash-boot",
            help="Freeze workers that are not needed, and revive them (Linux).",
            rich_help_panel=_SCALING,
        ),
    ] = False,
    worker_command: Annotated[
        str | None,
        typer.Option(
            help="Command of a worker; by default rp_handler.py of this repository.", rich_help_panel=_SCALING
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Variable for the workers, such as RUNPOD_INIT_TIMEOUT=800; repeatable.",
            rich_help_panel=_SCALING,
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="For what the workers print, in place of stderr; with {worker} in it, a file for each.",
            rich_help_panel=_SCALING,
        ),
    ] = None,
    cost: Annotated[
        float, typer.Option(metavar="DOLLARS", help="Price of a worker's second.", rich_help_panel=_COSTS)
    ] = 0.00031,
    bill_initializing: Annotated[
        bool,
        typer.Option(
            "--bill-initializing/--no-bill-initializing",
            help="Whether the time in which a worker starts is billed; RunPod's pages disagree.",
            rich_help_panel=_COSTS,
        ),
    ] = True,
    switch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="How to read what RunPod does not document, such as late_progress=overwrites; repeatable.",
            rich_help_panel=_PLATFORM,
        ),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help="What goes wrong, such as status:route=run,code=500; repeatable.",
            rich_help_panel=_PLATFORM,
        ),
    ] = None,
    accept_faults: Annotated[
        bool,
        typer.Option("--accept-faults", help="Let clients plan faults at /emulator/faults.", rich_help_panel=_PLATFORM),
    ] = False,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Another limit than RunPod's, in seconds or bytes, such as lost_job_seconds=3; repeatable.",
            rich_help_panel=_PLATFORM,
        ),
    ] = None,
    rate_limits: Annotated[
        bool,
        typer.Option(
            "--rate-limits/--no-rate-limits", help="Whether RunPod's rate limits apply.", rich_help_panel=_PLATFORM
        ),
    ] = True,
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the jobs there, over restarts.", rich_help_panel=_PLATFORM),
    ] = None,
) -> None:
    """Run a local RunPod: one endpoint, and the real SDK's workers behind it, started and stopped as RunPod does.

    Ctrl-C ends it with its workers, and says what they would have cost. `comfypod top` shows what it does.
    """
    from comfypod.cli.emulate_runpod import RunPodCommand, serve_runpod

    serve_runpod(
        RunPodCommand(
            host=listen,
            port=port,
            endpoint_id=endpoint,
            api_key=api_key,
            workers=workers,
            min_workers=min_workers,
            max_workers=max_workers,
            idle_seconds=idle_timeout,
            scaler=scaler,
            scaler_value=scaler_value,
            flash_boot=flash_boot,
            cost=cost,
            bill_initializing=bill_initializing,
            worker_command=worker_command,
            environment=env or (),
            log=log,
            switches=switch or (),
            faults=fault or (),
            accept_faults=accept_faults,
            limits=limit or (),
            rate_limits=rate_limits,
            state_file=state,
        )
    )


@app.command(
    "pods",
    epilog="Examples:\n\n"
    "  comfypod emulate pods\n\n"
    "  comfypod emulate pods --gpu 'NVIDIA RTX A4000=2,0.17,0.09' --fault cut:route=create,when=after\n\n"
    "  comfypod emulate pods --switch spot=gone",
)
def emulate_pods(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8010,
    listen: Annotated[
        str, typer.Option(help="Address to listen at; beyond this machine only with a key.")
    ] = "127.0.0.1",
    api_key: Annotated[
        str, typer.Option(envvar="COMFYPOD_LOCAL_API_KEY", help="Key that clients must send.")
    ] = "local",
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TYPE=HOW_MANY,DOLLARS,LEAST_BID",
            help="What can be rented, in place of four types with invented prices; repeatable.",
            rich_help_panel=_COSTS,
        ),
    ] = None,
    start_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="From a pod's creation until its program starts.")
    ] = 0.5,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Variable for the programs of all pods; repeatable."),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For what pods print, in place of stderr; with {pod} in it, one for each."),
    ] = None,
    switch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="How to read what RunPod does not document, such as spot=gone; repeatable.",
            rich_help_panel=_PLATFORM,
        ),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help="What goes wrong, such as status:route=create,code=500; repeatable.",
            rich_help_panel=_PLATFORM,
        ),
    ] = None,
) -> None:
    """Run RunPod's pod API on this machine: pods are processes here, their images are ignored.

    REST v2, and what GraphQL has of pods, with capacity, bids and outbidding. Ctrl-C ends it with its pods, and says
    what they would have cost. Set RUNPOD_API_BASE_URL to its address to use it.
    """
    from comfypod.cli.emulate_pods import PodsCommand, serve_pods

    serve_pods(
        PodsCommand(
            host=listen,
            port=port,
            api_key=api_key,
            gpus=gpu or (),
            start_seconds=start_seconds,
            environment=env or (),
            log=log,
            switches=switch or (),
            faults=fault or (),
        )
    )
