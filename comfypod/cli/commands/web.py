"""``comfypod web``: the page, where people type a prompt and watch it become a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comfypod.cli.commands.jobs import BaseUrlOption, EndpointOption, KeyOption, PatienceOption

app = typer.Typer()

_WHERE, _ACCESS, _LIMITS = "Where", "Who may use it", "Limits"


@app.command(
    epilog="Examples:\n\n"
    "  comfypod web --local --open\n\n"
    "  comfypod web --endpoint ENDPOINT_ID --dollars-per-second 0.00044\n\n"
    "  COMFYPOD_WEB_TOKEN=… comfypod web --trust-proxy --allow-host pictures.example --base-path /comfypod/\n\n"
    "The API key comes from RUNPOD_API_KEY, or from ~/.runpod/config.toml as RunPod's own tools write it."
)
def web(
    local: Annotated[
        bool,
        typer.Option(
            "--local", help="Start a local RunPod with one worker, for as long as this runs.", rich_help_panel=_WHERE
        ),
    ] = False,
    endpoint: EndpointOption = None,
    base_url: BaseUrlOption = None,
    patience_seconds: PatienceOption = 60.0,
    api_key: KeyOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; beyond this machine only with a token.", rich_help_panel=_WHERE)
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.", rich_help_panel=_WHERE)] = 8765,
    base_path: Annotated[
        str,
        typer.Option(
            metavar="PATH", help="Path of the page, as a proxy in front passes it on.", rich_help_panel=_WHERE
        ),
    ] = "/",
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Runs and uploads are kept there. Default: ~/.local/share/comfypod/web.",
            file_okay=False,
            show_default=False,
            rich_help_panel=_WHERE,
        ),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.", rich_help_panel=_WHERE)
    ] = False,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            envvar="COMFYPOD_WEB_TOKEN",
            help="What everybody signs in with; better in the environment, where other users cannot see it.",
            show_default=False,
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Another name that browsers know the server by; repeatable.", rich_help_panel=_ACCESS
        ),
    ] = None,
    trust_proxy: Annotated[
        bool,
        typer.Option(
            "--trust-proxy",
            help="Believe the proxy in front: X-Forwarded-For, X-Forwarded-Proto.",
            rich_help_panel=_ACCESS,
        ),
    ] = False,
    runs_at_once: Annotated[int, typer.Option(min=1, max=100, help="Of one visitor.", rich_help_panel=_LIMITS)] = 4,
    upload_limit: Annotated[
        float,
        typer.Option(
            metavar="MEGABYTES",
            min=0.001,
            max=1000,
            help="The largest file. A job has 10 MB on RunPod, and a file in it grows by a third.",
            rich_help_panel=_LIMITS,
        ),
    ] = 7.0,
    dollars_per_second: Annotated[
        float | None,
        typer.Option(
            metavar="PRICE", min=0, help="Of a worker; the page then says what a run cost.", show_default=False
        ),
    ] = None,
) -> None:
    """Serve the page: any workflow as a form, the run live, and a gallery. The API key stays in the server."""
    from comfypod.cli.connection import Target
    from comfypod.errors import ConfigurationError

    try:
        from comfypod.cli.web import WebCommand, serve_web
        from comfypod.web.site.options import Limits, SiteOptions, as_base_path
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise ConfigurationError(["The page's server needs aiohttp: pip install 'comfypod[web]'."]) from error
    options = SiteOptions(
        host=host,
        port=port,
        base_path=as_base_path(base_path),
        token=token or None,
        allowed_hosts=tuple(allow_host or ()),
        trusts_proxy=trust_proxy,
        limits=Limits(runs_at_once=runs_at_once, upload_bytes=round(upload_limit * 1_000_000)),
    )
    target = Target(endpoint, api_key, base_url, patience_seconds, local)
    serve_web(WebCommand(target, options, data, dollars_per_second, opens_browser=open_browser))
