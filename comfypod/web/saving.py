"""Bringing what a job made into the run's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfypod.cloud.documents import Document
from comfypod.cloud.saving import save_artifacts
from comfypod.errors import ComfyPodError, SavingFailed
from comfypod.web.disk import WHERE


@dataclass(frozen=True, slots=True)
class SavedFile:
    """What the worker says of a file, and where it is now."""

    artifact: Document
    path: Path


@dataclass(frozen=True, slots=True)
class SavedOutput:
    """The files that are here; those that nobody can fetch; and why there are no more, if it went wrong."""

    files: Sequence[SavedFile]
    out_of_reach: Sequence[str]
    error: ComfyPodError | None


def save_output(output: Mapping[str, Any], folder: Path) -> SavedOutput:
    """Write the files of a job's output below ``folder``, as far as it goes."""
    files: list[SavedFile] = []
    out_of_reach: list[str] = []
    told = Document(output)
    artifacts = [Document(item) for item in (*told.objects("images"), *told.objects("files"))]
    try:
        for artifact, path in zip(artifacts, save_artifacts(output, folder), strict=False):
            if artifact.text("type") == "path":
                out_of_reach.append(artifact.text("filename") or "a file")
            else:
                files.append(SavedFile(artifact, path))
    except SavingFailed as error:
        return SavedOutput(files, out_of_reach, SavingFailed(WHERE, error.cause))
    except ComfyPodError as error:
        return SavedOutput(files, out_of_reach, error)
    return SavedOutput(files, out_of_reach, None)
