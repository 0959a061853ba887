"""The last touch to an output file: another format, or no metadata, where the job asks for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from comfypod.files.content import FileContent
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
    """What to hand over, under the name that it now has; ``warnings`` say what could not be done."""

    content: FileContent
    filename: str
    warnings: Sequence[str] = ()


def is_converted(selection: OutputSelection) -> bool:
    """Whether files may be written anew, which takes time and memory; else they are only looked at."""
    return selection.format != "original" or not selection.metadata


def finish(path: Path, filename: str, selection: OutputSelection, workspace: Workspace) -> Finished:
    """Convert a still picture to the format that is asked for, and remove metadata if that is asked for.

    ``path`` is never changed; a new file goes into the job's scratch folder.

    Raises:
        OSError: the disk does not take it.
    """
    content = FileContent(path)
    if selection.metadata:
        try:
            content = without_folder(path, workspace.folder)
        except FileRefused as error:  # empty or broken: it is delivered as its node left it
            event("output_is_broken", logging.WARNING, filename=filename, cause=error)
    return _converted(content, filename, selection, workspace)


def _converted(content: FileContent, filename: str, selection: OutputSelection, workspace: Workspace) -> Finished:
    kind = content_type_of(filename)
    wanted = selection.format
    if wanted == "original" or not kind.startswith("image/") or kind == "image/svg+xml":
        return _without_metadata(content, filename, selection, workspace)
    source, target = content.path, workspace.scratch_file(filename)
    if content.patches:
        source = workspace.scratch_file(filename)
        content.copy_to(source)
    try:
        warnings = convert_image(source, target, wanted, selection.quality, selection.metadata)
    except FileRefused as error:
        left = _without_metadata(content, filename, selection, workspace)
        return Finished(left.content, left.filename, (*left.warnings, f"{filename} keeps its format: it {error}"))
    new_name = str(PurePosixPath(filename).with_suffix(_SUFFIXES[wanted]))
    return Finished(FileContent(target), new_name, warnings)


def _without_metadata(
    content: FileContent, filename: str, selection: OutputSelection, workspace: Workspace
) -> Finished:
    if selection.metadata:
        return Finished(content, filename)
    target = workspace.scratch_file(filename)
    if strip_metadata(content.path, target):
        return Finished(FileContent(target), filename)
    return Finished(content, filename, (f"{filename} may hold metadata: it cannot be removed from such a file",))
