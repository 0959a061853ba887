"""What a pod has in hand to make, and which of it comes next. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from comfypod.batch.documents import Item


class Hand:
    """Leased items that are not made yet, in the order in which the coordinator gave them.

    `take` hands out what is ready; what was taken is ``making`` until it is `drop`ped, or comes back by `put_back`.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, Item] = {}
        self._making: dict[str, Item] = {}
        self._newest: tuple[str, ...] | None = None

    @property
    def waiting(self) -> int:
        """How many have not been begun."""
        return len(self._waiting)

    @property
    def making(self) -> int:
        """How many have been begun, and not ended."""
        return len(self._making)

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Of all of them."""
        return (*self._making, *self._waiting)

    def add(self, items: Iterable[Item]) -> None:
        """Take more in hand; one that is there already stays where it is."""
        for item in items:
            if item.identifier not in self._making:
                self._waiting.setdefault(item.identifier, item)

    def take(self, present: Collection[str]) -> Item | None:
        """Begin the next one whose assets are all ``present``; None: there is none.

        Another one of the same assets goes first, so that nothing is loaded in vain; else the order decides.
        """
        item = self.next(present)
        if item is not None:
            self._newest = item.assets
            self._making[item.identifier] = self._waiting.pop(item.identifier)
        return item

    def next(self, present: Collection[str]) -> Item | None:
        """What `take` would hand out."""
        ready = [item for item in self._waiting.values() if all(key in present for key in item.assets)]
        return next((item for item in ready if item.assets == self._newest), next(iter(ready), None))

    def next_others(self, present: Collection[str]) -> Item | None:
        """The first that is ready and needs other assets than the newest: its models may be read ahead."""
        ready = (item for item in self._waiting.values() if all(key in present for key in item.assets))
        return next((item for item in ready if item.assets != self._newest), None)

    def put_back(self, identifier: str) -> None:
        """It was begun in vain, and is the first to be begun again."""
        if (item := self._making.pop(identifier, None)) is not None:
            self._waiting = {identifier: item, **self._waiting}

    def drop(self, identifier: str) -> None:
        """It is made, or no longer ours."""
        self._waiting.pop(identifier, None)
        self._making.pop(identifier, None)

    def revoke(self, identifiers: Iterable[str]) -> list[str]:
        """Drop those of them that have not been begun, and return these: their leases have gone to other pods."""
        gone = [identifier for identifier in identifiers if identifier in self._waiting]
        for identifier in gone:
            del self._waiting[identifier]
        return gone
