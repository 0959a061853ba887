"""``comfypod up``: a whole service on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comfypod.cli.commands.jobs import BaseUrlOption, EndpointOption, KeyOption

app = typer.Typer()


@app.command(
    epilog="Examples:\n\n"
    "  comfypod up --local\n\n"
    "  DISCORD_TOKEN=… comfypod up --local --guild SERVER_ID\n\n"
    "  comfypod up --endpoint ENDPOINT_ID --workers 5 --database postgresql://…\n\n"
    "On RunPod the bucket is the one that the endpoint's workers have: BUCKET_ENDPOINT_URL, BUCKET_NAME, "
    "BUCKET_ACCESS_KEY_ID and BUCKET_SECRET_ACCESS_KEY."
)
def up(
    local: Annotated[
        bool, typer.Option("--local", help="With a local RunPod and a local bucket, for as long as this runs.")
    ] = False,
    endpoint: EndpointOption = None,
    base_url: BaseUrlOption = None,
    api_key: KeyOption = None,
    workers: Annotated[int, typer.Option(min=1, max=1000, help="How many the endpoint has at most.")] = 1,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="COMFYPOD_DATABASE_URL",
            help="Where requests are kept. Default: a SQLite file in the folder.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path, typer.Option(metavar="DIR", file_okay=False, help="For requests, results, the page's runs, and logs.")
    ] = Path(".comfypod/up"),
    gateway_port: Annotated[int, typer.Option(min=1, max=65535)] = 8766,
    page_port: Annotated[int, typer.Option(min=1, max=65535)] = 8765,
    guild: Annotated[
        int | None,
        typer.Option(
            metavar="ID", help="The Discord server in which the bot's commands can be used at once.", show_default=False
        ),
    ] = None,
) -> None:
    """Run the master, the gateway, the page, and the Discord bot if DISCORD_TOKEN is set, until told to stop."""
    from comfypod.cli.connection import Target
    from comfypod.cli.up import UpCommand, run_up

    target = Target(endpoint, api_key, base_url, local=local)
    run_up(UpCommand(target, folder, database, workers, gateway_port, page_port, guild))
