"""``comfypod nodes …``: the packs of custom nodes that the image is built with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Custom node packs of custom_nodes/nodes.toml, and who has a node class.")

_ComfyUI = Annotated[
    str | None,
    typer.Option("--comfyui", metavar="URL", envvar="COMFYUI_URL", help="A running ComfyUI, to ask for its classes."),
]
_AsJSON = Annotated[bool, typer.Option("--json", help="As JSON.")]
_Force = Annotated[bool, typer.Option("--force", help="Also overwrite what was changed there.")]


@app.callback(invoke_without_command=True)
def nodes(context: typer.Context, comfyui: _ComfyUI = None, as_json: _AsJSON = False) -> None:
    """Without a command: list."""
    context.obj = (comfyui, as_json)  # options may stand before the command
    if context.invoked_subcommand is None:
        nodes_list(context, comfyui, as_json)


@app.command("list")
def nodes_list(context: typer.Context, comfyui: _ComfyUI = None, as_json: _AsJSON = False) -> None:
    """Show the packs: commit, classes, and whether they are here or, with --comfyui, loaded there."""
    from comfypod.cli.nodes import list_packs

    before: tuple[str | None, bool] = context.obj
    sys.exit(list_packs(comfyui or before[0], as_json=as_json or before[1]))


@app.command("find")
def nodes_find(
    context: typer.Context,
    class_type: Annotated[str, typer.Argument(metavar="CLASS", help="A node's class, such as KSampler.")],
    comfyui: _ComfyUI = None,
    as_json: _AsJSON = False,
) -> None:
    """Say which pack has a class, and whether ComfyUI (else the built-in engine) knows it. Exit code 2: nobody does."""
    from comfypod.cli.nodes import find_class

    before: tuple[str | None, bool] = context.obj
    sys.exit(find_class(class_type, comfyui or before[0], as_json=as_json or before[1]))


@app.command("add")
def nodes_add(
    repository: Annotated[str, typer.Argument(help="The address of a git repository.")],
    ref: Annotated[str, typer.Option(metavar="NAME", help="A tag, a branch or a whole commit id.")] = "HEAD",
    name: Annotated[str | None, typer.Option(help="The pack's name and folder. Default: the repository's.")] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", help="A class, or a pattern such as VHS_*; in place of those found."),
    ] = None,
    vendor: Annotated[bool, typer.Option("--vendor", help="Also put its files into custom_nodes/NAME.")] = False,
) -> None:
    """Pin a pack in nodes.toml, or move it to another commit. Its files are looked at; nothing of them is run."""
    from comfypod.cli.node_packs import add_command
    from comfypod.image.packs import Wishes

    sys.exit(add_command(repository, Wishes(ref, name, classes or ()), vendor=vendor))


@app.command("vendor")
def nodes_vendor(
    name: Annotated[str, typer.Argument(help="A pack of nodes.toml.")],
    force: _Force = False,
) -> None:
    """Put a pack's files, at its commit and without git's, into custom_nodes/NAME of this repository."""
    from comfypod.cli.node_packs import vendor_command

    sys.exit(vendor_command(name, force=force))


@app.command("lock")
def nodes_lock(
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Take the newest versions, not those pinned so far.")
    ] = False,
    python: Annotated[str, typer.Option(metavar="VERSION", help="The image's Python.")] = "3.12",
    platform: Annotated[
        str, typer.Option(metavar="NAME", help="The image's platform, as uv names it.")
    ] = "x86_64-manylinux_2_28",
    output: Annotated[
        Path | None, typer.Option(help="Where to write it. Default: image/requirements.txt.", dir_okay=False)
    ] = None,
) -> None:
    """Resolve what ComfyUI, the worker and all packs require together, and pin it in image/requirements.txt."""
    from comfypod.cli.node_packs import lock_command
    from comfypod.image.resolver import Target

    sys.exit(lock_command(Target(python, platform), output, upgrade=upgrade))


@app.command("check")
def nodes_check(context: typer.Context, comfyui: _ComfyUI = None, as_json: _AsJSON = False) -> None:
    """Say whether list, vendored files, pinned packages and workflows fit each other. Exit code 1: they do not."""
    from comfypod.cli.node_packs import check_command

    before: tuple[str | None, bool] = context.obj
    sys.exit(check_command(comfyui or before[0], as_json=as_json or before[1]))


@app.command("install")
def nodes_install(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Default: all packs.")] = None,
    directory: Annotated[Path, typer.Option(help="Where ComfyUI loads packs from.", file_okay=False)] = Path(
        "ComfyUI/custom_nodes"
    ),
    requirements: Annotated[
        bool, typer.Option("--requirements", help="Also install what they require, where no lock has it.")
    ] = False,
    python: Annotated[
        Path | None,
        typer.Option(
            help="With --requirements: into this Python. Default: ComfyUI/.venv, else this one.", dir_okay=False
        ),
    ] = None,
    force: _Force = False,
) -> None:
    """Put packs where ComfyUI loads them from, if they are not there at their commit: vendored files, else fetched."""
    from comfypod.cli.node_packs import InstallOptions, install_command

    sys.exit(install_command(names or [], InstallOptions(directory, python, requirements=requirements, force=force)))
