"""A manifest that is a folder: every ``.json`` file in it is an item, which has the file's name."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from comfypod.batch.manifest.rows import Row, RowProblem
from comfypod.cloud.workflow_kinds import kind_of
from comfypod.errors import InvalidManifest
from comfypod.schema.job import MOST_PROBLEMS
from comfypod.schema.limits import find_excess
from comfypod.schema.wire import as_object
from comfypod.schema.workflow import EXPORT_HINT


class Folder:
    """The files of a folder, in the order of their names: workflows, templates, jobs or their inputs."""

    word = "file"

    def __init__(self, path: Path, longest_row_bytes: int) -> None:
        self.defaults: dict[str, Any] = {}
        self._path = path
        self._longest_bytes = longest_row_bytes

    def rows(self) -> Iterator[Row]:
        """Read the files, one by one."""
        try:
            paths = sorted(path for path in self._path.iterdir() if path.suffix.lower() == ".json")
        except OSError as error:
            raise InvalidManifest([f"{self._path}: cannot be read ({error.strerror or error})."]) from error
        if not paths:
            raise InvalidManifest([f"{self._path}: has no .json files."])
        for path in paths:
            try:
                yield Row(path.name, _fields(path, self._longest_bytes))
            except RowProblem as error:
                yield Row(path.name, {}, problem=str(error))


def _fields(path: Path, longest_bytes: int) -> dict[str, Any]:
    document, name = read_object(path, longest_bytes), {"name": path.stem}
    kind = kind_of(document)
    if kind == "ui_workflow":
        raise RowProblem(f"is in the UI format; {EXPORT_HINT}")
    if kind == "job":
        return {**name, **as_object(document["input"])}
    if kind == "job_input":
        return {**name, **document}
    return {**name, "workflow": path.name if kind == "template" else document}


def read_object(path: Path, longest_bytes: int) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        RowProblem: it cannot be read, is too long, or holds none.
    """
    try:
        with path.open("rb") as file:
            content = file.read(longest_bytes + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise RowProblem(f"cannot be read ({reason or error})") from error
    if len(content) > longest_bytes:
        raise RowProblem(f"is longer than {longest_bytes:,} bytes")
    try:
        document = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise RowProblem(f"is not valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise RowProblem("holds no JSON object")
    if excess := list(islice(find_excess(document), MOST_PROBLEMS)):
        raise RowProblem(*excess)
    return document
