"""A manifest that is a table: a file with a line of column names (CSV, TSV)."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from comfypod.batch.manifest.rows import Row, TextFile
from comfypod.errors import InvalidManifest
from comfypod.schema.wire import listed

MOST_COLUMNS: Final = 1000


class TableFile:
    """The rows of a ``.csv`` or ``.tsv`` file (UTF-8). Where the first line has semicolons, they part the cells."""

    word = "line"

    def __init__(self, path: Path, longest_row_bytes: int) -> None:
        self.defaults: dict[str, Any] = {}
        self._path = path
        self._file = TextFile(path, longest_row_bytes)

    def rows(self) -> Iterator[Row]:
        """Read the lines, one by one, after the one with the names."""
        lines = self._texts()
        first = next(lines, "")
        delimiter = "\t" if self._path.suffix.lower() in {".tsv", ".tab"} else _delimiter(first)
        reader = csv.reader(_chained(first, lines), delimiter=delimiter, strict=True)
        try:
            columns = column_names(next(reader, []), str(self._path))
            for cells in reader:
                if any(cells):
                    yield _row(reader.line_num, columns, cells)
        except csv.Error as error:
            raise InvalidManifest([f"{self._path}: line {reader.line_num}: {error}."]) from error

    def _texts(self) -> Iterator[str]:
        for number, line in self._file.lines():
            if line is None:
                raise InvalidManifest(
                    [f"{self._path}: line {number}: is longer than {self._file.longest_bytes:,} bytes."]
                )
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8") + "\n"
            except UnicodeDecodeError as error:
                remedy = "save the table as UTF-8"
                raise InvalidManifest([f"{self._path}: line {number}: is not UTF-8; {remedy}."]) from error


def column_names(names: list[str], source: str) -> list[str]:
    """The names of a table's columns.

    Raises:
        InvalidManifest: there are none, too many, or two of the same name.
    """
    columns = [name.strip() for name in names]
    twice = [name for name, count in Counter(columns).items() if count > 1 and name]
    if not any(columns):
        raise InvalidManifest([f"{source}: has no line with the names of its columns."])
    if len(columns) > MOST_COLUMNS:
        raise InvalidManifest([f"{source}: has {len(columns):,} columns; at most {MOST_COLUMNS:,} are accepted."])
    if twice:
        raise InvalidManifest([f"{source}: has two columns of the same name: {listed(twice)}."])
    return columns


def _delimiter(first: str) -> str:
    """As spreadsheets write it in countries where the comma is the decimal point."""
    return ";" if first.count(";") > first.count(",") else ","


def _chained(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _row(number: int, columns: list[str], cells: list[str]) -> Row:
    if len(cells) > len(columns) and any(cells[len(columns) :]):
        return Row(number, {}, problem=f"has {len(cells)} cells for {len(columns)} columns")
    pairs = zip(columns, cells, strict=False)
    return Row(number, {name: cell for name, cell in pairs if name and cell}, is_table=True)
