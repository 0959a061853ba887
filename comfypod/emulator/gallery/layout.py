"""Composition for the built-in gallery: where the figures of a scene go. Pure; for development and tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from comfypod.emulator.gallery.colours import Colour, shade
from comfypod.emulator.gallery.shapes import SHAPES, Figure, Point, Shape
from comfypod.emulator.gallery.words import MAXIMUM_COUNT, PLACES, Item


def arrange(
    items: Sequence[Item],
    size: tuple[int, int],
    palette: Sequence[Colour],
    ground: float | None,
    random: np.random.Generator,
) -> list[Figure]:
    """Give every figure its place; what lies behind comes first.

    Args:
        items: what to draw.
        size: width and height of the picture in pixels.
        palette: colours for figures that have none of their own.
        ground: height of the ground as a share of the picture from the top; None where nothing can stand on it.
        random: decides the composition.
    """
    behind_first = sorted(_limited(items), key=lambda item: (not _lies_behind(item), not SHAPES[item.shape].floats))
    layout = _Layout(sum(item.count for item in behind_first if not _lies_behind(item)), size, ground, random)
    figures: list[Figure] = []
    for number, item in enumerate(behind_first):
        choice = palette[1 + (number + int(random.integers(3))) % 4]
        colour = item.colour or SHAPES[item.shape].colour or choice
        figures += [layout.place(item, index, colour) for index in range(item.count)]
    # What is lower stands nearer to the viewer.
    return sorted(figures, key=lambda figure: figure.middle[1]) if ground is not None else figures


def _lies_behind(item: Item) -> bool:
    """Whether an item is a plain shape that others lie on ("a star on a red square")."""
    shape = SHAPES[item.shape]
    return item.is_ground and not shape.stands and not shape.floats


def _limited(items: Sequence[Item]) -> list[Item]:
    """The items whose figures fit into the picture."""
    kept: list[Item] = []
    for item in items:
        if sum(other.count for other in kept) + item.count <= MAXIMUM_COUNT:
            kept.append(item)
    return kept


class _Layout:
    """Hands out places for ``total`` figures."""

    def __init__(self, total: int, size: tuple[int, int], ground: float | None, random: np.random.Generator) -> None:
        self._total = total
        self._size = size
        self._ground = ground
        self._random = random
        self._places = self._free_places()

    def place(self, item: Item, index: int, colour: Colour) -> Figure:
        """Place figure number ``index`` of an item."""
        shape, random = SHAPES[item.shape], self._random
        share = 0.88 if _lies_behind(item) else self._share() * item.scale * random.uniform(0.82, 1.18)
        x, y = self._middle(item, index)
        if self._ground is not None:
            y = self._landscape_height(shape, y, share)
        return Figure(
            shape,
            middle=(x * self._size[0], y * self._size[1]),
            size=share * min(self._size),
            turn=random.uniform(-shape.turns, shape.turns),
            colour=shade(colour, random.uniform(-0.06, 0.1)) if item.count > 1 else colour,
            shadow=0.0 if shape.floats else 0.28,
        )

    def _share(self) -> float:
        """The width of one figure, as a share of the picture's shorter side."""
        return 0.58 if self._total <= 1 else max(0.11, 0.58 / self._total**0.62)

    def _middle(self, item: Item, index: int) -> Point:
        """The middle of a figure, in shares of width and height, before the landscape has its say."""
        if _lies_behind(item):
            return 0.5, 0.5
        if item.place:
            return self._at_place(item, item.place, index)
        if self._total == 1 and not SHAPES[item.shape].stands and not SHAPES[item.shape].floats:
            return 0.5 + self._random.uniform(-0.09, 0.09), 0.5 + self._random.uniform(-0.09, 0.09)
        return self._places.pop(0)

    def _at_place(self, item: Item, place: str, index: int) -> Point:
        """A named place, with the figures of one item in a row along it."""
        x, y = PLACES[place]
        step = (index - (item.count - 1) / 2) * min(0.3, 0.8 / item.count)
        x, y = (x, y + step) if place in {"left", "right"} else (x + step, y)
        return x + self._random.uniform(-0.03, 0.03), y + self._random.uniform(-0.03, 0.03)

    def _landscape_height(self, shape: Shape, y: float, share: float) -> float:
        """Put what stands on the ground, and what floats into the sky."""
        if shape.stands and self._ground is not None:
            return self._ground + self._random.uniform(-0.01, 0.09) - share * 0.5 * min(self._size) / self._size[1]
        return min(y, 0.12 + 0.35 * self._random.random()) if shape.floats else y

    def _free_places(self) -> list[Point]:
        """Places well apart from one another: for each, the best of some random candidates is taken."""
        aspect = np.array(self._size) / min(self._size)
        margin = np.minimum(0.45, 0.5 * self._share() / aspect + 0.02)
        places = np.empty((0, 2))
        for _ in range(self._total):
            candidates = margin + self._random.random((60, 2)) * (1 - 2 * margin)
            gaps = np.linalg.norm((candidates[:, None] - places[None]) * aspect, axis=-1)
            best = int(gaps.min(axis=1).argmax()) if len(places) else 0
            places = np.vstack([places, candidates[best]])
        return [(float(x), float(y)) for x, y in places]
