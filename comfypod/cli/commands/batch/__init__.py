"""``comfypod batch …``: very many pictures from a manifest, planned, made on rented pods, each of them once."""

from __future__ import annotations

import typer

from comfypod.cli.commands.batch import check, economics, plan, pod, reconcile, report, run

app = typer.Typer(
    no_args_is_help=True, help="Very many pictures from a manifest, planned, made on rented pods, each of them once."
)
app.add_typer(check.app)
app.add_typer(economics.app)
app.add_typer(plan.app)
app.add_typer(pod.app)
app.add_typer(reconcile.app)
app.add_typer(report.app)
app.add_typer(run.app)


@app.callback()
def batch() -> None:
    """Very many pictures from a manifest, planned, made on rented pods, each of them once."""
