"""All groups of a batch as columns of numbers, so that hundreds of thousands of them are planned in seconds. Pure."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from comfypod.batch.documents import Asset, Share
from comfypod.batch.planning.workload import Workload

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Table:
    """Groups and files by number.

    ``sizes``: bytes to fetch, by file: none for what comes with the image. Of each group: ``items``, ``works`` in
    megapixel-steps, ``base_sets``, the place of its bases in ``bases``, and ``patch_bytes``. The files of its patches
    are ``patches[starts[group]:starts[group + 1]]``. ``places``: groups with similar patches are neighbours in them.
    """

    groups: tuple[Share, ...]
    keys: tuple[str, ...]
    sizes: Floats
    items: Integers
    works: Floats
    bases: tuple[frozenset[int], ...]
    base_sets: Integers
    starts: Integers
    patches: Integers
    patch_bytes: Floats
    places: Integers

    def size_bytes(self, files: frozenset[int]) -> int:
        """To fetch, of files together."""
        return int(self.sizes[list(files)].sum()) if files else 0

    def patches_of(self, groups: Integers) -> tuple[Integers, Integers]:
        """The patches of these groups, one after the other: whose they are, as a place in ``groups``, and which."""
        begins, counts = self.starts[groups], self.starts[groups + 1] - self.starts[groups]
        owners = np.repeat(np.arange(len(groups)), counts)
        before = np.repeat(np.cumsum(counts) - counts, counts)
        return owners, self.patches[np.repeat(begins, counts) + np.arange(len(owners)) - before]


def make_table(workload: Workload, assets: Mapping[str, Asset]) -> Table:
    """The table of a workload; files that are not among ``assets`` have no size."""
    groups = workload.groups
    signatures = [group.signature for group in groups]
    numbers = defaultdict[str, int](itertools.count().__next__)
    base_numbers: dict[tuple[str, ...], int] = {}
    base_sets = [base_numbers.setdefault(signature.bases, len(base_numbers)) for signature in signatures]
    by_bases = [frozenset(numbers[key] for key in bases) for bases in base_numbers]
    patches = np.array([numbers[key] for signature in signatures for key in signature.patches], dtype=np.int64)
    counts = np.array([len(signature.patches) for signature in signatures], dtype=np.int64)
    starts = np.concatenate(([0], np.cumsum(counts)))
    sizes = np.array([_size_bytes(assets.get(key)) for key in numbers])
    owners = np.repeat(np.arange(len(groups)), counts)
    return Table(
        groups=groups,
        keys=tuple(numbers),
        sizes=sizes,
        items=np.array([group.items for group in groups], dtype=np.int64),
        works=np.array([group.work for group in groups], dtype=np.float64),
        bases=tuple(by_bases),
        base_sets=np.array(base_sets, dtype=np.int64),
        starts=starts,
        patches=patches,
        patch_bytes=summed(owners, sizes[patches], len(groups)),
        places=_places(starts, patches, counts),
    )


def _size_bytes(asset: Asset | None) -> float:
    return 0.0 if asset is None or asset.comes_with_image else float(asset.size_bytes)


def summed(places: Integers, values: Floats, count: int) -> Floats:
    """The sum of the values of each place, of so many places."""
    return np.bincount(places, weights=values, minlength=count).astype(np.float64)


def _places(starts: Integers, patches: Integers, counts: Integers) -> Integers:
    """Where each group is among all, sorted by its first patches."""
    columns = []
    for place in range(min(3, int(counts.max(initial=0)))):
        has = counts > place
        column = np.full(len(counts), -1, dtype=np.int64)
        column[has] = patches[starts[:-1][has] + place]
        columns.append(column)
    order = np.lexsort(columns[::-1]) if columns else np.arange(len(counts))
    places = np.empty(len(counts), dtype=np.int64)
    places[order] = np.arange(len(counts))
    return places
