"""``comfypod top``: what an endpoint is doing."""

from __future__ import annotations

from typing import Annotated

import typer

from comfypod.cli.commands.jobs import BaseUrlOption, EndpointOption

app = typer.Typer()


@app.command(
    epilog="Examples:\n\n"
    "  comfypod top\n\n"
    "  comfypod top --once --base-url http://127.0.0.1:8001/v2\n\n"
    "  comfypod top --endpoint ENDPOINT_ID\n\n"
    "The API key comes from RUNPOD_API_KEY, for a local RunPod from COMFYPOD_LOCAL_API_KEY."
)
def top(
    endpoint: EndpointOption = None,
    base_url: BaseUrlOption = None,
    # Hidden, as elsewhere. It does not read the environment: which variable counts depends on the address.
    api_key: Annotated[str | None, typer.Option("--api-key", hidden=True)] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one picture, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what it tells as JSON, and end.")] = False,
) -> None:
    """Show an endpoint's queue, workers, jobs and spend, live; without options those of the local RunPod.

    The real RunPod tells only how many jobs and workers there are. Ctrl-C ends it.
    """
    from comfypod.cli.top import observed_connection, show_top

    show_top(observed_connection(endpoint, api_key, base_url), once=once, as_json=as_json)
