"""The last touch to an output file: another format, or no metadata, where the job asks for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from comfypod.files.conversion import convert_image, strip_metadata
from comfypod.files.isolation import FileRefused
from comfypod.logs import event
from comfypod.schema.artifact import content_type_of
from comfypod.schema.job import OutputSelection
from comfypod.worker.png_texts import without_folder
from comfypod.worker.workspace import Workspace

_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


@dataclass(frozen=True, slots=True)
class Finished:
    """The file to hand over, under the name that it now has; ``warnings`` say what could not be done."""

    path: Path
    filename: str
    warnings: Sequence[str] = ()


def finish(path: Path, filename: str, selection: OutputSelection, workspace: Workspace) -> Finished:
    """Convert a still picture to the format that is asked for, and remove metadata if that is asked for.

    ``path`` is never changed; a new file goes into the job's scratch folder.

    Raises:
        OSError: the disk does not take it.
    """
    if selection.metadata:
        restored = workspace.scratch_file(filename)
        try:
            path = restored if without_folder(path, restored, workspace.folder) else path
        except FileRefused as error:  # empty or broken: it is delivered as its node left it
            event("output_is_broken", logging.WARNING, filename=filename, cause=error)
    return _converted(path, filename, selection, workspace.scratch_file(filename))


def _converted(path: Path, filename: str, selection: OutputSelection, target: Path) -> Finished:
    is_picture = content_type_of(filename).startswith("image/") and content_type_of(filename) != "image/svg+xml"
    wanted = selection.format
    if wanted == "original" or not is_picture:
        return _without_metadata(path, filename, selection, target)
    try:
        warnings = convert_image(path, target, wanted, selection.quality, selection.metadata)
    except FileRefused as error:
        left = _without_metadata(path, filename, selection, target)
        return Finished(left.path, left.filename, (*left.warnings, f"{filename} keeps its format: it {error}"))
    return Finished(target, str(PurePosixPath(filename).with_suffix(_SUFFIXES[wanted])), warnings)


def _without_metadata(path: Path, filename: str, selection: OutputSelection, target: Path) -> Finished:
    if selection.metadata:
        return Finished(path, filename)
    if strip_metadata(path, target):
        return Finished(target, filename)
    return Finished(path, filename, (f"{filename} may hold metadata: it cannot be removed from such a file",))
