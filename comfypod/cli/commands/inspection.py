"""Commands that look at what is there: settings, reference pages."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def reference(
    document: Annotated[str, typer.Argument(help="settings (Markdown) or hub (the env list of hub.json)")],
) -> None:
    """Print a reference page that is generated from the code."""
    from comfypod.cli.reference import render

    print(render(document), end="")
