"""A JSON object from elsewhere, read without trust in its types. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class Document(Mapping[str, Any]):
    """A read-only object; subclasses name its fields."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 (any JSON)
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._fields)})"  # values may be pictures

    def text(self, name: str) -> str | None:
        """The field, if it is a text."""
        value = self._fields.get(name)
        return value if isinstance(value, str) else None

    def number(self, name: str) -> float | None:
        """The field, if it is a finite number."""
        value = self._fields.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and value - value == 0
        return value if is_number else None

    def whole_number(self, name: str) -> int | None:
        """The field, if it is a number, without its fraction."""
        value = self.number(name)
        return None if value is None else int(value)

    def objects(self, name: str) -> list[dict[str, Any]]:
        """The objects in the field, if it is a list."""
        value = self._fields.get(name)
        return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []

    def strings(self, name: str) -> list[str]:
        """The texts in the field, if it is a list."""
        value = self._fields.get(name)
        return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
