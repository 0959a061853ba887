"""``comfypod batch economics``: what an item costs by alternatives, from a few figures of each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command(
    epilog="Example:\n\n  comfypod batch economics docs/examples/article.toml\n\n"
    "What the file holds: docs/how-to/compare-costs.md."
)
def economics(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A study, as TOML.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Compare what an item costs by alternatives, and check what is claimed of them."""
    from comfypod.cli.batch.economics import economics_command

    economics_command(file, as_json=as_json)
