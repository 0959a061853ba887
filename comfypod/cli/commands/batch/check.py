"""``comfypod batch check``: what a manifest asks for, before anything is planned."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from comfypod.cli.commands.batch import manifest

app = typer.Typer()


@app.command(
    epilog="Examples:\n\n"
    "  comfypod batch check pictures.jsonl\n\n"
    "  comfypod batch check pictures.csv --template text_to_image --set steps=30\n\n"
    "  comfypod batch check sqlite:///shop.db --query 'SELECT sku AS name, text AS prompt FROM products'\n\n"
    "What a manifest holds: docs/reference/batch-manifest.md."
)
def check(
    source: manifest.Source,
    kind: manifest.Kind = None,
    query: manifest.Query = None,
    template: manifest.Template = None,
    parameters: manifest.Parameters = None,
    ignored: manifest.Ignored = None,
    models_toml: manifest.ModelsTOML = manifest.MODELS_TOML,
    assume_size: manifest.AssumeSize = None,
    offline: manifest.Offline = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Read a manifest, and show what it asks for: its items, groups and model files, and what is wrong with it."""
    from comfypod.cli.batch.check import check_manifest
    from comfypod.cli.batch.manifest_choice import ManifestChoice

    choice = ManifestChoice(
        source, kind, query, template, parameters or (), ignored or (), models_toml, assume_size, offline
    )
    sys.exit(check_manifest(choice, as_json=as_json))
