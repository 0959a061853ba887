"""Artifacts to files where the client stands."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from comfypod.errors import ProtocolViolation, SavingFailed


def save_artifacts(output: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the inline artifacts of a job's output under ``folder`` and return where each one is.

    A file is complete or not there. Names that would leave the folder are reduced to what is harmless in them.

    Raises:
        ProtocolViolation: an artifact is damaged, or of a type that is not known.
        SavingFailed: a file cannot be written; those before it are there.
    """
    artifacts = [*(output.get("images") or ()), *(output.get("files") or ())]
    return [_save(artifact, folder) for artifact in artifacts]


def _save(artifact: Mapping[str, Any], folder: Path) -> Path:
    name = str(artifact.get("filename", ""))
    if artifact.get("type") != "base64":
        raise ProtocolViolation("The worker", f"artifact {name!r} of type {artifact.get('type')!r}")
    try:
        content = base64.b64decode(str(artifact.get("data", "")), validate=True)
    except binascii.Error as error:
        raise ProtocolViolation("The worker", f"artifact {name!r} that is not base64") from error
    digest = artifact.get("sha256")
    if digest is not None and hashlib.sha256(content).hexdigest() != digest:
        raise ProtocolViolation("The worker", f"artifact {name!r} that does not match its sha256")
    path = folder / _harmless(f"{artifact.get('subfolder') or ''}/{name}")
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise SavingFailed(str(path), error.strerror or str(error)) from error
    return path


def _harmless(name: str) -> PurePosixPath:
    """A relative path below the folder: no root, no ``..``, no drive, no hidden name."""
    parts = [part.lstrip(".") for part in name.replace("\\", "/").replace(":", "_").split("/")]
    return PurePosixPath(*[part for part in parts if part] or ["unnamed"])
