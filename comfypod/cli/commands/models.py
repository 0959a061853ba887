"""``comfypod models …``: the files of models.toml."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(no_args_is_help=True, help="The model files of models.toml: where they are, and bringing them.")

_MODELS_TOML = typer.Option("--models-toml", help="The list of model files.", dir_okay=False)
_DIRECTORY = typer.Option(
    help="Where they lie, one folder per kind. Default: MODELS_DIRECTORY, else ComfyUI/models.", file_okay=False
)


@app.command("list")
def models_list(
    models_toml: Annotated[Path, _MODELS_TOML] = Path("models.toml"),
    directory: Annotated[Path | None, _DIRECTORY] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show which model files there are to be, and which of them are here."""
    from comfypod.cli.models import ModelOptions, list_models

    sys.exit(list_models(ModelOptions(models_toml, directory), as_json=as_json))


@app.command("fetch")
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


@app.command("verify")
def models_verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Default: all that are here.")] = None,
    models_toml: Annotated[Path, _MODELS_TOML] = Path("models.toml"),
    directory: Annotated[Path | None, _DIRECTORY] = None,
) -> None:
    """Compute the SHA-256 of model files, and say which are wrong."""
    from comfypod.cli.models import ModelOptions, verify_models

    sys.exit(verify_models(ModelOptions(models_toml, directory), names or []))


@app.command("add")
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
