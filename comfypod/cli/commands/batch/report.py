"""``comfypod batch report``: what a batch made, took and cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comfypod.cli.commands.database import DATABASE, DatabaseOption

app = typer.Typer()


@app.command(epilog="Example:\n\n  comfypod batch report --output report.html")
def report(
    batch: Annotated[
        str | None, typer.Argument(metavar="[BATCH]", help="How its identifier begins. Default: the newest one.")
    ] = None,
    database: DatabaseOption = DATABASE,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where the page goes.")] = Path(
        "report.html"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON; write no page.")] = False,
) -> None:
    """Report what a batch made, took and cost, against its plan and other GPUs: a page with charts."""
    from comfypod.cli.batch.report import report_command

    report_command(database, batch, output, as_json=as_json)
