"""``comfypod batch pod``: what a rented machine runs."""

from __future__ import annotations

import typer

app = typer.Typer()


@app.command()
def pod() -> None:
    """Work on a batch, as a machine that `comfypod batch run` has rented does.

    COMFYPOD_BATCH_URL, COMFYPOD_BATCH_TOKEN, COMFYPOD_BATCH_POD and COMFYPOD_BATCH_ENDS_AT say for whom, as what, and
    until when; `comfypod batch run` sets them. COMFYPOD_BATCH_FOLDER is where everything is kept that must survive.
    """
    from comfypod.cli.batch.pod import run_batch_pod

    run_batch_pod()
