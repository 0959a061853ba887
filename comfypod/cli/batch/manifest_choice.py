"""The manifest that a command's options mean, read while a person sees how far it is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from comfypod.batch.documents import GIGABYTE
from comfypod.batch.manifest.manifest import Manifest, read_manifest
from comfypod.batch.manifest.options import ManifestOptions, SourceKind
from comfypod.cli.job_input import parse_parameter


@dataclass(frozen=True, slots=True)
class ManifestChoice:
    """A manifest, and how it is to be read, as `comfypod.cli.commands.batch.manifest` has it."""

    source: str
    kind: SourceKind | None = None
    query: str | None = None
    template: str | None = None
    parameters: Sequence[str] = ()
    ignored: Sequence[str] = ()
    models_toml: Path = Path("models.toml")
    assume_gigabytes: float | None = None
    offline: bool = False

    def options(self) -> ManifestOptions:
        """The same, as the manifest's reader wants it."""
        return ManifestOptions(
            kind=self.kind,
            query=self.query,
            template=self.template,
            parameters=dict(map(parse_parameter, self.parameters)),
            ignored=frozenset(self.ignored),
            models_toml=self.models_toml,
            assume_size_bytes=None if self.assume_gigabytes is None else round(self.assume_gigabytes * GIGABYTE),
            look_up=not self.offline,
            sizes_cache=cache_folder() / "model_sizes.json",
        )

    def read(self) -> Manifest:
        """Read it; on a terminal a line shows how far.

        Raises:
            InvalidManifest, InvalidJobInput, ConfigurationError: see `read_manifest`.
        """
        console = Console(stderr=True)
        options = self.options()
        with console.status("Reading the manifest …") as status:
            return read_manifest(
                self.source, options, lambda count: status.update(f"Reading the manifest: {count:,} items so far …")
            )


def cache_folder() -> Path:
    """``~/.cache/comfypod``, or below XDG_CACHE_HOME (freedesktop.org, XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "comfypod"
