"""The rows of a manifest, one by one, from wherever it is: a file of JSON lines, a table, a folder, a database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from comfypod.errors import InvalidManifest


class RowProblem(Exception):
    """A row is not one; every argument is a clause, ``field: what is wrong``."""


class Row(NamedTuple):
    """A row as it was read; ``place`` is where, for a sentence. ``problem``: it could not be read.

    ``is_table``: its fields are the columns of a table, and all values are texts.
    """

    place: str | int
    fields: dict[str, Any]
    is_table: bool = False
    problem: str | None = None


class RowSource(Protocol):
    """Gives the rows, each time anew. ``word`` is what a row's place is: ``line``, ``file``, ``row``."""

    word: str
    defaults: dict[str, Any]
    """Fields for rows that do not have them; known once the first row was read."""

    def rows(self) -> Iterator[Row]:
        """Read from the beginning; what is wrong with the whole source is raised as `InvalidManifest`."""


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file of lines, of which none may be endless."""

    path: Path
    longest_bytes: int

    def lines(self) -> Iterator[tuple[int, bytes | None]]:
        """Every line with its number, without its end; None for one that is too long.

        Raises:
            InvalidManifest: the file cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                number = 0
                while line := file.readline(self.longest_bytes + 1):
                    number += 1
                    if len(line) <= self.longest_bytes or line.endswith(b"\n"):
                        yield number, line.rstrip(b"\r\n")
                        continue
                    yield number, None
                    while line and not line.endswith(b"\n"):
                        line = file.readline(self.longest_bytes)
        except OSError as error:
            raise InvalidManifest([f"{self.path}: cannot be read ({error.strerror or error})."]) from error
