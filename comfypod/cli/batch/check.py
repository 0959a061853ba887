"""``comfypod batch check``: a manifest's items, groups and model files, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfypod.batch.documents import Asset, Signature
from comfypod.batch.manifest.manifest import Manifest
from comfypod.batch.wording import on_one_line
from comfypod.cli.batch.manifest_choice import ManifestChoice
from comfypod.cli.exit_codes import ExitCode
from comfypod.cli.printing import write_error
from comfypod.cli.reports import print_json, print_line, print_table, print_text
from comfypod.errors import InvalidManifest
from comfypod.schema.wire import listed
from comfypod.storage.models.manifest import ModelEntry
from comfypod.storage.models.progress import format_bytes

MOST_GROUPS = 30
"""Rows of the table; the largest are shown."""


def check_manifest(choice: ManifestChoice, *, as_json: bool) -> int:
    """Print what a manifest asks for; a problem a line on stderr, and the exit code for wrong input, if it cannot be.

    Raises:
        InvalidJobInput, ConfigurationError: an option, ``models.toml`` or a template is not valid.
    """
    try:
        manifest = choice.read()
    except InvalidManifest as error:
        if as_json:
            print_json({"problems": list(error.problems)})
        else:
            for problem in error.problems:
                write_error(problem)
        return ExitCode.USAGE
    if as_json:
        print_json(_document(manifest))
    else:
        _print(manifest)
    return ExitCode.SUCCESS


def _document(manifest: Manifest) -> dict[str, Any]:
    return {
        "batch": manifest.identifier,
        "items": manifest.count,
        "work": sum(work for _, work in manifest.signatures().values()),
        "groups": [
            {"bases": group.bases, "patches": group.patches, "items": items, "work": work}
            for group, items, work in _groups(manifest)
        ],
        "assets": [
            {"key": asset.key, "size_bytes": asset.size_bytes, "sha256": asset.sha256, "source": _source(asset)}
            for asset in manifest.assets.values()
        ],
        "notes": list(manifest.notes),
        "problems": [],
    }


def _groups(manifest: Manifest) -> list[tuple[Signature, int, float]]:
    """The groups, the one with the most work first."""
    groups = [(signature, items, work) for signature, (items, work) in manifest.signatures().items()]
    return sorted(groups, key=lambda group: -group[2])


def _print(manifest: Manifest) -> None:
    groups = _groups(manifest)
    work = sum(group[2] for group in groups)
    print_text(f"Batch {manifest.identifier}: {manifest.count:,} items in {len(groups):,} groups.")
    print_table(
        ["items", "megapixel-steps each", "files on the GPU", "over them"],
        [
            (f"{items:,}", f"{work / items:,.1f}", _names(group.bases), _names(group.patches))
            for group, items, work in groups[:MOST_GROUPS]
        ],
    )
    if len(groups) > MOST_GROUPS:
        print_text(f"and {len(groups) - MOST_GROUPS:,} more groups, with less work (--json has all).")
    _print_assets(list(manifest.assets.values()))
    print_text(f"Work in all: {work:,.0f} megapixel-steps.")
    for note in manifest.notes:
        print_line("note", note, "yellow")


def _print_assets(assets: Sequence[Asset]) -> None:
    rows = [(asset.key, format_bytes(asset.size_bytes), _source(asset)) for asset in assets]
    print_table(["model file", "size", "from"], rows)
    loaded = sum(asset.size_bytes for asset in assets if not asset.comes_with_image)
    print_text(f"{format_bytes(loaded)} to download, if one pod made all of it.")


def _names(keys: Sequence[str]) -> str:
    return listed((key.partition("/")[2] for key in keys), 5)


def _source(asset: Asset) -> str:
    if asset.entry is None:
        return "taken to be in the image"
    source = on_one_line(ModelEntry.model_validate(asset.entry).source)
    return f"in the image ({source})" if asset.comes_with_image else source
