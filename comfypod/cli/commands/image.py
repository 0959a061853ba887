"""``comfypod smoke``: whether a freshly built image works."""

from __future__ import annotations

import typer

app = typer.Typer()


@app.command()
def smoke() -> None:
    """Start ComfyUI with every node pack, look for what the shipped workflows need, and run a job without a model.

    The image's build ends with it. On a machine without a GPU it runs on the CPU. Exit code 1 if anything is wrong.
    """
    from comfypod.cli.smoke import run_smoke

    run_smoke()
