"""``comfypod gateway``: the Comfy API v2 for programs, on the master."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from comfypod.cli.commands.database import DATABASE, DatabaseOption

app = typer.Typer()

_WHERE, _LIMITS = "Where", "Limits"


@app.command(
    epilog="Examples:\n\n"
    "  comfypod master keys add my-team\n\n"
    "  comfypod gateway\n\n"
    "  comfypod gateway --database postgresql://… --host 0.0.0.0 --public-url https://comfy.example\n\n"
    "Uploads and results lie in the bucket of the workers: BUCKET_ENDPOINT_URL, BUCKET_NAME, BUCKET_ACCESS_KEY_ID and "
    "BUCKET_SECRET_ACCESS_KEY, as the workers have them."
)
def gateway(
    database: DatabaseOption = DATABASE,
    host: Annotated[
        str, typer.Option("--host", "--bind", help="Address to listen at.", rich_help_panel=_WHERE)
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.", rich_help_panel=_WHERE)] = 8766,
    public_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Address by which programs know the gateway, where a proxy is in front of it.",
            show_default=False,
            rich_help_panel=_WHERE,
        ),
    ] = None,
    retention_days: Annotated[
        float, typer.Option(min=0.01, max=3650, help="How long uploads are kept whose program does not say.")
    ] = 30.0,
    upload_limit: Annotated[
        float, typer.Option(metavar="MEGABYTES", min=0.001, help="The largest file.", rich_help_panel=_LIMITS)
    ] = 200.0,
    streams_at_once: Annotated[
        int, typer.Option(min=1, help="Event streams of one tenant.", rich_help_panel=_LIMITS)
    ] = 50,
    require_master: Annotated[
        bool,
        typer.Option(
            "--require-master", help="Refuse jobs while no master runs, rather than keep them until one does."
        ),
    ] = False,
    allow_private_webhooks: Annotated[
        bool,
        typer.Option("--allow-private-webhooks", help="Post webhooks also to addresses of one's own network."),
    ] = False,
) -> None:
    """Serve the Comfy API v2, so that the official comfy-sdk runs workflows on RunPod; each job once, never lost."""
    from comfypod.cli.gateway import serve_gateway
    from comfypod.gateway.options import GatewayOptions, Limits

    options = GatewayOptions(
        host=host,
        port=port,
        public_url=public_url,
        retention=timedelta(days=retention_days),
        requires_master=require_master,
        allows_private_webhooks=allow_private_webhooks,
        limits=Limits(asset_bytes=round(upload_limit * 1_000_000), streams_at_once=streams_at_once),
    )
    serve_gateway(database, options)
