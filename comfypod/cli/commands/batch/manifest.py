"""The options by which a manifest is named and read: the same for every command that reads one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Source = Annotated[
    str,
    typer.Argument(
        metavar="MANIFEST",
        help="A file of JSON lines, a table (.csv, .tsv), a folder of workflows, or a database (sqlite:///FILE, "
        "postgresql://…) with --query.",
    ),
]
Kind = Annotated[
    Literal["jsonl", "csv", "folder", "sql"] | None,
    typer.Option("--from", help="What the manifest is, where its name does not tell."),
]
Query = Annotated[str | None, typer.Option(metavar="SELECT", help="What to ask the database for.")]
Template = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help="For rows that name none: a template, or a file with one or a workflow."),
]
Parameters = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter of all rows that do not have it.")
]
Ignored = Annotated[
    list[str] | None, typer.Option("--ignore", metavar="FIELD", help="A field, or a column, that means nothing here.")
]
ModelsTOML = Annotated[Path, typer.Option("--models-toml", help="The list of model files.", dir_okay=False)]
AssumeSize = Annotated[
    float | None,
    typer.Option(
        metavar="GB",
        min=0,
        help="The size of model files that nobody tells; those that are not in the list are taken to be in the image.",
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Ask no source for a size that the list lacks.")]
MODELS_TOML = Path("models.toml")
