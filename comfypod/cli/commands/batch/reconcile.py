"""``comfypod batch reconcile``: pods that nobody needs or watches any more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comfypod.cli.commands.database import DATABASE, DatabaseOption

app = typer.Typer()


@app.command(
    epilog="Examples:\n\n"
    "  comfypod batch reconcile --provider runpod\n\n"
    "  comfypod batch reconcile --provider runpod --end --watch\n\n"
    "  comfypod batch reconcile --provider runpod --no-database --end --unknown",
)
def reconcile(
    database: DatabaseOption = DATABASE,
    no_database: Annotated[
        bool, typer.Option("--no-database", help="Whatever the database said is lost: no batch is known.")
    ] = False,
    provider: Annotated[str, typer.Option(help="Whose pods: local, runpod or skypilot.")] = "runpod",
    pods_folder: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Of local: where they are kept track of. Default: .comfypod/pods."),
    ] = None,
    end: Annotated[bool, typer.Option("--end", help="End them.")] = False,
    unknown: Annotated[
        bool,
        typer.Option(
            "--unknown", help="With --end: also pods of batches that this database does not know. They may be others'."
        ),
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(metavar="SECONDS", min=1.0, help="With --watch: how often.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, one object a line.")] = False,
) -> None:
    """List pods of ours that nobody needs or watches any more, and end them.

    A pod is one of ours by its name. It is listed if its batch is over, cancelled or unknown, if its time is over, if
    its batch has given it up, or if nobody coordinates its batch.
    """
    from comfypod.cli.batch.reconcile import ReconcileCommand
    from comfypod.cli.batch.reconcile import reconcile as look

    look(
        ReconcileCommand(
            provider=provider,
            database=None if no_database else database,
            folder=pods_folder,
            end=end,
            unknown=unknown,
            every_seconds=every if watch else None,
            as_json=as_json,
        )
    )
