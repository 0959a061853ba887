"""A manifest of JSON lines: one object a line, and perhaps one with defaults before them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from comfypod.batch.manifest.rows import Row, TextFile

DEFAULTS: Final = "defaults"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class JSONLines:
    """The rows of a ``.jsonl`` file. Empty lines count as lines, not as rows."""

    word = "line"

    def __init__(self, path: Path, longest_row_bytes: int) -> None:
        self.defaults: dict[str, Any] = {}
        self._file = TextFile(path, longest_row_bytes)

    def rows(self) -> Iterator[Row]:
        """Read the lines, one by one; the first one may be the defaults."""
        is_first = True
        for number, line in self._file.lines():
            text = line if line is None or number > 1 else line.removeprefix(_BYTE_ORDER_MARK)
            if text is not None and not text.strip():
                continue
            row = self._row(number, text)
            if is_first and row.fields.keys() == {DEFAULTS}:
                row = self._take_defaults(row)
            is_first = False
            if row.fields or row.problem:
                yield row

    def _row(self, number: int, line: bytes | None) -> Row:
        if line is None:
            return Row(number, {}, problem=f"is longer than {self._file.longest_bytes:,} bytes")
        try:
            # NaN and infinities are no JSON; deep documents and halves of surrogate pairs are refused as well.
            fields = from_json(line, allow_inf_nan=False)
        except ValueError as error:
            return Row(number, {}, problem=f"is not valid JSON ({error})")
        if not isinstance(fields, dict):
            return Row(number, {}, problem='must be an object such as {"prompt": "a fox"}')
        return Row(number, fields) if fields else Row(number, {}, problem="is an empty object")

    def _take_defaults(self, row: Row) -> Row:
        defaults = row.fields[DEFAULTS]
        if not isinstance(defaults, dict):
            return Row(row.place, {}, problem=f"{DEFAULTS}: must be an object")
        self.defaults = defaults
        return Row(row.place, {})
