"""Artifacts to files where the client stands: those that came inline, and those that a pointer leads to."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from comfypod.errors import ProtocolViolation, ResultOnVolume, SavingFailed


def save_artifacts(output: Mapping[str, Any], folder: Path) -> Iterator[Path]:
    """Write the artifacts of a job's output under ``folder``, and tell where each one is as soon as it is there.

    A file is complete or not there. Names that would leave the folder are reduced to what is harmless in them. One that
    was left on the endpoint's volume (``path``) cannot be fetched from here; its path there is returned.

    Raises:
        ProtocolViolation: an artifact is damaged, or of a type that is not known.
        CloudUnavailable: the bucket does not hand one over; those before it are there.
        SavingFailed: a file cannot be written; those before it are there.
    """
    paths: list[Path] = []
    for artifact in _artifacts(output):
        paths.append(_save(artifact, folder, paths))
        yield paths[-1]


def _artifacts(output: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in ("images", "files"):
        artifacts = output.get(name) or []
        if not isinstance(artifacts, list):
            raise ProtocolViolation("The worker", f"{name} that are no list: {artifacts!r:.100}")
        for artifact in artifacts:
            if not isinstance(artifact, Mapping):
                raise ProtocolViolation("The worker", f"an artifact that is no object: {artifact!r:.100}")
            yield artifact


def _save(artifact: Mapping[str, Any], folder: Path, taken: Sequence[Path]) -> Path:
    name = str(artifact.get("filename", ""))
    if artifact.get("type") == "path":
        return Path(str(artifact.get("data")))
    path = _free(folder / _harmless(f"{artifact.get('subfolder') or ''}/{name}"), taken)
    partial = path.with_name(f".{path.name}.partial")
    digest = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            for block in artifact_blocks(artifact):
                digest.update(block)
                file.write(block)
        if artifact.get("sha256") not in (None, digest.hexdigest()):
            raise ProtocolViolation("The worker", f"artifact {name!r} that does not match its sha256")
        partial.replace(path)
    except OSError as error:
        raise SavingFailed(str(path), error.strerror or str(error)) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return path


def _free(path: Path, taken: Sequence[Path]) -> Path:
    """The path, or one beside it with a number: nodes may save under the same name."""
    number, free = 1, path
    while free in taken:
        number += 1
        free = path.with_name(f"{path.stem} ({number}){path.suffix}")
    return free


def artifact_blocks(artifact: Mapping[str, Any]) -> Iterator[bytes]:
    """The content of one artifact, piece by piece.

    Raises:
        ProtocolViolation: it is damaged, or of a type that is not known.
        CloudUnavailable: the bucket does not hand it over.
        ResultOnVolume: it was left on the endpoint's volume.
    """
    name, data = str(artifact.get("filename", "")), str(artifact.get("data", ""))
    if artifact.get("type") == "path":
        raise ResultOnVolume(data)
    if artifact.get("type") == "base64":
        try:
            yield base64.b64decode(data, validate=True)
        except ValueError as error:  # also of letters that are not ASCII
            raise ProtocolViolation("The worker", f"artifact {name!r} that is not base64") from error
    elif artifact.get("type") == "s3_url" and data.lower().startswith(("http://", "https://")):
        from comfypod.cloud.fetching import fetched_blocks  # noqa: PLC0415 (Requests takes 80 ms; most files are inline)

        yield from fetched_blocks(data)
    else:
        raise ProtocolViolation("The worker", f"artifact {name!r} of type {artifact.get('type')!r}")


def _harmless(name: str) -> PurePosixPath:
    """A relative path below the folder: no root, no ``..``, no drive, no hidden name, nothing that is not printable.

    A line break in it would make two lines of one where paths are printed.
    """
    plain = "".join(character if character.isprintable() else "_" for character in name)
    parts = [part.lstrip(".") for part in plain.replace("\\", "/").replace(":", "_").split("/")]
    return PurePosixPath(*[part for part in parts if part] or ["unnamed"])
