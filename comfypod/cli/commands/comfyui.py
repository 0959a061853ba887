"""``comfypod comfyui …``: the pinned ComfyUI, and where its models are found."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="The pinned ComfyUI: moving the pin, installing it here; and its models.")

_Repository = Annotated[
    str | None, typer.Option(metavar="URL", help="Another git repository than comfyui.toml's: a mirror.")
]


@app.command("update")
def comfyui_update(
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION|BRANCH|COMMIT", help="Default: the newest release.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing. Exit code 100: it would change.")] = False,
    repository: _Repository = None,
) -> None:
    """Move the pin in ComfyUI/comfyui.toml to another version, and say what must follow."""
    from comfypod.cli.comfyui import update_pin

    sys.exit(update_pin(version, repository, only_check=check))


@app.command("install")
def comfyui_install(
    cuda: Annotated[
        bool | None,
        typer.Option("--cuda/--cpu", help="Which torch. Default: CUDA where nvidia-smi is.", show_default=False),
    ] = None,
    torch_index: Annotated[
        str | None, typer.Option(metavar="URL", help="Where torch itself comes from, in place of pip's index.")
    ] = None,
    packages: Annotated[
        bool, typer.Option("--packages/--no-packages", help="Whether to make ComfyUI/.venv, too.")
    ] = True,
    repository: _Repository = None,
) -> None:
    """Put the pinned version into ComfyUI/, with its packages in ComfyUI/.venv; models and pictures there stay."""
    from comfypod.cli.comfyui import InstallOptions, install

    sys.exit(install(InstallOptions(repository, cuda, torch_index, packages)))


@app.command("paths")
def comfyui_paths(
    volume: Annotated[
        list[Path] | None, typer.Option(help="Repeatable. Default: /runpod-volume and /workspace.", metavar="DIR")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show in which folders a worker on this machine would have ComfyUI look for models."""
    from comfypod.cli.comfyui import show_paths
    from comfypod.comfyui.model_paths import VOLUMES

    directory = os.environ.get("MODELS_DIRECTORY", "").strip() or None
    sys.exit(show_paths(volume or VOLUMES, directory, as_json=as_json))
