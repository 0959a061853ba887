"""How a manifest is to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

SourceKind = Literal["jsonl", "csv", "folder", "sql"]

MOST_ITEMS: Final = 1_000_000
LONGEST_ROW_BYTES: Final = 10_000_000
"""As much as RunPod takes as a job's input (docs.runpod.io, serverless/endpoints/operation-reference)."""


@dataclass(frozen=True, slots=True)
class ManifestOptions:
    """What is said beside the manifest; rows may say otherwise where they can.

    Args:
        kind: what the source is; None: as its name and nature tell.
        query: the SELECT of a database.
        template: a template's name, or the path of a file with a template or a workflow, for rows that name none.
        parameters: for all rows that do not give them.
        ignored: fields of rows, or columns, that mean nothing here.
        models_toml: the list of model files; if there is none, nothing is known of any.
        assume_size_bytes: of model files whose size nobody tells; those that ``models.toml`` lacks are then taken to
            be in the image.
        look_up: whether sources may be asked for sizes that ``models.toml`` lacks.
        sizes_cache: a file that remembers what they said; None: it is not remembered.
        most_problems: reading ends with so many.
    """

    kind: SourceKind | None = None
    query: str | None = None
    template: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    models_toml: Path = Path("models.toml")
    templates_folder: Path | None = None
    assume_size_bytes: int | None = None
    look_up: bool = True
    sizes_cache: Path | None = None
    most_items: int = MOST_ITEMS
    longest_row_bytes: int = LONGEST_ROW_BYTES
    most_problems: int = 20
