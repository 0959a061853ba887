"""The option that names the database: the same for every command that keeps something, or looks at it."""

from __future__ import annotations

from typing import Annotated

import typer

DatabaseOption = Annotated[
    str,
    typer.Option(
        "--database",
        metavar="URL",
        envvar="COMFYPOD_DATABASE_URL",
        help="Where requests and batches are kept: sqlite:///FILE, for one machine; postgresql://…, for several.",
    ),
]
DATABASE = "sqlite:///comfypod.sqlite"
