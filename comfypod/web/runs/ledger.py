"""What of a kind (runs, uploads) is kept for whom, how large it is, and what must go to keep within limits. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kept:
    """One item; ``may_go``: it can be removed to make room."""

    visitor_id: str
    item_id: str
    size_bytes: int = 0
    may_go: bool = True


class Ledger:
    """Which items there are. Their ids sort by age."""

    def __init__(self, most_of_a_visitor: int, most_bytes: int) -> None:
        self._most_of_a_visitor = most_of_a_visitor
        self._most_bytes = most_bytes
        self._items: dict[str, dict[str, Kept]] = {}

    def note(self, item: Kept) -> None:
        """There is this one, or it has changed."""
        self._items.setdefault(item.visitor_id, {})[item.item_id] = item

    def forget(self, visitor_id: str, item_id: str) -> None:
        """It is gone."""
        of_visitor = self._items.get(visitor_id, {})
        of_visitor.pop(item_id, None)
        if not of_visitor:
            self._items.pop(visitor_id, None)

    def has(self, visitor_id: str, item_id: str) -> bool:
        """Whether this visitor has such an item."""
        return item_id in self._items.get(visitor_id, {})

    def of_visitor(self, visitor_id: str) -> list[str]:
        """A visitor's items, the newest first."""
        return sorted(self._items.get(visitor_id, {}), reverse=True)

    def excess(self) -> Iterator[Kept]:
        """What has to go, the oldest first: what a visitor has too many of, then what is too much of all together.

        The newest of all stays, however large it is.
        """
        gone: set[str] = set()
        for items in self._items.values():
            for item in _oldest(items)[: max(0, len(items) - self._most_of_a_visitor)]:
                gone.add(item.item_id)
                yield item
        everything = {item.item_id: item for items in self._items.values() for item in items.values()}
        left = {item_id: item for item_id, item in everything.items() if item_id not in gone}
        total_bytes = sum(item.size_bytes for item in left.values())
        newest = max(left, default="")
        for item in _oldest(left):
            if total_bytes <= self._most_bytes or item.item_id == newest:
                return
            total_bytes -= item.size_bytes
            yield item


def _oldest(items: Mapping[str, Kept]) -> list[Kept]:
    """Those that may go, the oldest first."""
    return [items[item_id] for item_id in sorted(items) if items[item_id].may_go]
