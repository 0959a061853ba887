"""``comfypod pod``: the worker as a pod."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer()


@app.command(
    epilog="Examples:\n\n"
    "  comfypod pod\n\n"
    "  COMFYPOD_API_KEY=… comfypod pod --host 0.0.0.0 --comfyui-page\n\n"
    "  comfypod run --base-url http://127.0.0.1:8000/v2 --endpoint local --prompt 'a fox'"
)
def pod(
    host: Annotated[
        str,
        typer.Option(envvar="COMFYPOD_HOST", help="Address to listen at; beyond this machine only with a key."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="COMFYPOD_PORT", min=0, max=65535, help="Of RunPod's API; 0: any free port.")
    ] = 8000,
    state: Annotated[
        str | None,
        typer.Option(
            envvar="COMFYPOD_STATE",
            metavar="FILE",
            help="Keep the jobs there, over restarts; none: nowhere. Default: on the volume, if there is one.",
        ),
    ] = None,
    comfyui_page: Annotated[
        bool,
        typer.Option(
            "--comfyui-page/--no-comfyui-page",
            envvar="COMFYPOD_COMFYUI_PAGE",
            help="Serve ComfyUI's own page, with the key as password.",
        ),
    ] = False,
    page_port: Annotated[
        int, typer.Option(envvar="COMFYPOD_PAGE_PORT", min=0, max=65535, help="Of that page; 0: any free port.")
    ] = 8188,
) -> None:
    """Run the worker as a pod: one worker, and RunPod's API in front of it as comfypod itself implements it.

    The key that clients must send is COMFYPOD_API_KEY: in the environment only, where other users cannot see it.
    """
    from comfypod.cli.pod import PodCommand, serve_pod

    serve_pod(PodCommand(host=host, port=port, state=state, comfyui_page=comfyui_page, page_port=page_port))
