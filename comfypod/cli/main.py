"""``comfypod …``: the commands, each imported only when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

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
models = typer.Typer(no_args_is_help=True, help="The model files of models.toml: where they are, and bringing them.")
app.add_typer(models, name="models")

_MODELS_TOML = typer.Option("--models-toml", help="The list of model files.", dir_okay=False)
_DIRECTORY = typer.Option(
    help="Where they lie, one folder per kind. Default: MODELS_DIRECTORY, else ComfyUI/models.", file_okay=False
)


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


@emulate.command("comfyui")
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


@models.command("list")
def models_list(
    models_toml: Annotated[Path, _MODELS_TOML] = Path("models.toml"),
    directory: Annotated[Path | None, _DIRECTORY] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show which model files there are to be, and which of them are here."""
    from comfypod.cli.models import ModelOptions, list_models

    sys.exit(list_models(ModelOptions(models_toml, directory), as_json=as_json))


@models.command("fetch")
def models_fetch(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Names, or FOLDER/NAME.")] = None,
    when: Annotated[
        Literal["build", "boot", "demand", "all"] | None, typer.Option(help="All that are to be fetched then.")
    ] = None,
    models_toml: Annotated[Path, _MODELS_TOML] = Path("models.toml"),
    directory: Annotated[Path | None, _DIRECTORY] = None,
    timeout_seconds: Annotated[float, typer.Option(min=1, help="Give up after so long.")] = 6 * 3600,
) -> None:
    """Download model files that are not here yet; a broken download goes on where it was."""
    from comfypod.cli.models import ModelOptions, fetch_models

    if not names and when is None:
        raise typer.BadParameter("say which: names, or --when build, boot, demand or all")
    sys.exit(fetch_models(ModelOptions(models_toml, directory), names or [], when, timeout_seconds))


@models.command("verify")
def models_verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Default: all that are here.")] = None,
    models_toml: Annotated[Path, _MODELS_TOML] = Path("models.toml"),
    directory: Annotated[Path | None, _DIRECTORY] = None,
) -> None:
    """Compute the SHA-256 of model files, and say which are wrong."""
    from comfypod.cli.models import ModelOptions, verify_models

    sys.exit(verify_models(ModelOptions(models_toml, directory), names or []))


@models.command("add")
def models_add(
    source: Annotated[str, typer.Argument(help="OWNER/REPOSITORY/FILE, hf://…, civitai:VERSION, or an address.")],
    name: Annotated[str | None, typer.Option(help="The file's name here, as loaders show it.")] = None,
    folder: Annotated[str | None, typer.Option(help="ComfyUI's folder, such as checkpoints or loras.")] = None,
    when: Annotated[Literal["build", "boot", "demand"], typer.Option(help="When to fetch it.")] = "demand",
    pinned: Annotated[bool, typer.Option("--pinned", help="Never evict it.")] = False,
    allow_pickle: Annotated[bool, typer.Option("--allow-pickle", help="It may run code when it is loaded.")] = False,
    license_name: Annotated[str | None, typer.Option("--license", help="Its licence, for your records.")] = None,
    token_env: Annotated[str | None, typer.Option(help="Environment variable with the source's token.")] = None,
    models_toml: Annotated[Path, _MODELS_TOML] = Path("models.toml"),
    print_only: Annotated[bool, typer.Option("--print-only", help="Leave the list as it is.")] = False,
) -> None:
    """Ask a source for a file's size, SHA-256 and commit, and append it to the list."""
    from comfypod.cli.models import ModelOptions, add_model
    from comfypod.storage.models.additions import Wishes

    more = {"when": when, "pinned": pinned, "allow_pickle": allow_pickle, "license": license_name}
    wishes = Wishes(name, folder, token_env, more)
    sys.exit(add_model(ModelOptions(models_toml, None), source, wishes, print_only=print_only))
