"""What is to be planned: rows of a manifest, brought together into groups that need the same files. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from comfypod.batch.documents import Share, Signature
from comfypod.batch.planning.bulk import bulk

Row = tuple[tuple[tuple[str, ...], tuple[str, ...]], float]
"""One item: keys of its bases and of its patches, and its work in megapixel-steps."""


@dataclass(frozen=True)
class Workload:
    """All groups of a batch, each one whole."""

    batch: str
    groups: tuple[Share, ...]

    @cached_property
    def items(self) -> int:
        """How many there are."""
        return sum(group.items for group in self.groups)

    @cached_property
    def work(self) -> float:
        """In megapixel-steps."""
        return sum(group.work for group in self.groups)


def workload_of(batch: str, signatures: Mapping[Signature, tuple[int, float]]) -> Workload:
    """The workload of a manifest that has been counted: items and work by signature."""
    return Workload(batch, tuple(Share(signature, *counted) for signature, counted in signatures.items()))


def gather(batch: str, rows: Iterable[Row]) -> Workload:
    """The workload of rows, in one pass; what is kept is one entry a signature, not one a row."""
    with bulk():
        return _gathered(batch, rows)


def _gathered(batch: str, rows: Iterable[Row]) -> Workload:
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], Share] = {}
    for (key, work), items in Counter(rows).items():  # equal rows are counted in C, most batches have many of them
        group = groups.get(key)
        if group is None:
            groups[key] = Share(Signature(*key), items, items * work)
        else:
            group.items += items
            group.work += items * work
    return Workload(batch, tuple(groups.values()))
