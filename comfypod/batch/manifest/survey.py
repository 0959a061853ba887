"""What is kept of all items of a manifest at once: a few dozen bytes of each, and the groups that they form."""

from __future__ import annotations

import hashlib
from typing import Final

from comfypod.batch.documents import Signature
from comfypod.batch.manifest.items import Made
from comfypod.batch.manifest.rows import Row, RowProblem
from comfypod.schema.wire import shortened

IDENTIFIER_DIGITS: Final = 16
MOST_NOTES: Final = 20


class Survey:
    """Counts items as they come. ``repeated`` are digests that came more than once: such rows are one item.

    ``word`` is what a row's place is, for sentences.
    """

    def __init__(self, word: str) -> None:
        self.count = 0
        self.fingerprint = 0
        self.repeated: set[bytes] = set()
        self._digests: set[bytes] = set()
        self._names: set[str] = set()
        self._groups: dict[tuple[str, ...], list[float]] = {}
        self._word = word
        self._notes: dict[str, str] = {}
        self._folded = 0
        self._first_folded: Row | None = None

    def add(self, row: Row, made: Made) -> None:
        """Count an item.

        Raises:
            RowProblem: another one has its name.
        """
        if made.digest in self._digests:
            self.repeated.add(made.digest)
            self._folded += 1
            self._first_folded = self._first_folded or row
            return
        self._digests.add(made.digest)
        if made.name is not None:
            folded = made.name.casefold()
            if folded in self._names:
                problem = f"name: {shortened(made.name)!r} belongs to another item already"
                raise RowProblem(f"{problem}; results of both would have the same place")
            self._names.add(folded)
        self.count += 1
        self.fingerprint ^= int.from_bytes(made.digest, "big")
        group = self._groups.setdefault(made.assets, [0, 0.0])
        group[0] += 1
        group[1] += made.facts.work
        self._take_notes(row, made)

    def identifier(self) -> str:
        """Of all items: the same ones in another order are the same batch."""
        return hashlib.sha256(b"".join(sorted(self._digests))).hexdigest()[:IDENTIFIER_DIGITS]

    def keys(self) -> list[str]:
        """Of all assets, each once."""
        return list(dict.fromkeys(key for assets in self._groups for key in assets))

    def signatures(self) -> dict[Signature, tuple[int, float]]:
        """Items and work of each group."""
        found: dict[Signature, tuple[int, float]] = {}
        for assets, (items, work) in self._groups.items():
            signature = Signature.of(assets)
            before = found.get(signature, (0, 0.0))
            found[signature] = (before[0] + int(items), before[1] + work)
        return found

    def notes(self) -> list[str]:
        """Sentences about what may not be as it was meant."""
        notes = [f"{note[0].upper()}{note[1:]} ({first})." for note, first in self._notes.items()]
        if self._first_folded is not None:
            rows = (
                f"{self._folded:,} rows repeat others, and are" if self._folded > 1 else "1 row repeats another, and is"
            )
            remedy = "to have each made, give it a name or a seed of its own"
            notes.append(f"{rows} made once ({self._first(self._first_folded)}); {remedy}.")
        return notes[:MOST_NOTES]

    def _take_notes(self, row: Row, made: Made) -> None:
        for note in made.facts.assets.notes:
            if note not in self._notes and len(self._notes) < MOST_NOTES:
                self._notes[note] = self._first(row)

    def _first(self, row: Row) -> str:
        return f"first: {self._word} {shortened(row.place)}"
