"""The figures that the built-in gallery can draw, as polygons in a unit square. Pure data.

For development and tests. A shape is a tuple of parts drawn in order; x grows to the right and y downwards, 0..1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from comfypod.emulator.gallery.colours import Colour

Point = tuple[float, float]
Outline = tuple[Point, ...]

_INK: Colour = (38, 34, 48)
_SNOW: Colour = (246, 250, 255)
_WINDOW: Colour = (255, 226, 138)


@dataclass(frozen=True, slots=True)
class Part:
    """One outline with holes. ``paint`` is a colour, or an amount by which the figure's own colour is lightened."""

    outline: Outline
    paint: Colour | float = 0.0
    holes: tuple[Outline, ...] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """A figure: its parts, the colour it has when the prompt names none, and where it belongs in a landscape.

    ``stands`` figures stand on the ground, ``floats`` figures hang in the sky. ``turns`` figures may be rotated.
    """

    parts: tuple[Part, ...]
    colour: Colour | None = None
    stands: bool = False
    floats: bool = False
    turns: float = 0.0


@dataclass(frozen=True, slots=True)
class Figure:
    """A shape with its place in a picture: middle and width in pixels, turn in degrees, shadow 0..1."""

    shape: Shape
    middle: Point
    size: float
    turn: float
    colour: Colour
    shadow: float


def oval(x: float, y: float, across: float, down: float | None = None, turn: float = 0.0) -> Outline:
    """An ellipse around (x, y) with radii ``across`` and ``down``, turned by ``turn`` degrees."""
    down = across if down is None else down
    cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    angles = [2 * math.pi * step / 72 for step in range(72)]
    curve = [(across * math.cos(angle), down * math.sin(angle)) for angle in angles]
    return tuple((x + a * cosine - b * sine, y + a * sine + b * cosine) for a, b in curve)


def box(left: float, top: float, right: float, bottom: float) -> Outline:
    """A rectangle."""
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def spokes(points: int, inner: float, outer: float = 0.5, start: float = -90.0) -> Outline:
    """A star with ``points`` points around the middle; ``inner`` equal to ``outer`` gives twice as many corners."""
    radii = (outer, inner)
    angles = [math.radians(start + 180.0 * step / points) for step in range(2 * points)]
    return tuple(
        (0.5 + radii[step % 2] * math.cos(angle), 0.5 + radii[step % 2] * math.sin(angle))
        for step, angle in enumerate(angles)
    )


def regular(corners: int, start: float = -90.0) -> Outline:
    """A regular polygon that fills the unit square."""
    return spokes(corners, 0.5, 0.5, start)[::2]


def _heart() -> Outline:
    angles = [2 * math.pi * step / 90 for step in range(90)]
    return tuple(
        (
            0.5 + math.sin(t) ** 3 * 0.48,
            0.47 - (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 34,
        )
        for t in angles
    )


def _petals(count: int) -> tuple[Part, ...]:
    turns = [360.0 * index / count for index in range(count)]
    return tuple(
        Part(
            oval(
                0.5 + 0.27 * math.cos(math.radians(turn)), 0.38 + 0.27 * math.sin(math.radians(turn)), 0.17, 0.11, turn
            ),
            0.12 if index % 2 else 0.0,
        )
        for index, turn in enumerate(turns)
    )


def _whole(outline: Outline, *holes: Outline, turns: float = 0.0, colour: Colour | None = None) -> Shape:
    return Shape((Part(outline, holes=holes),), colour=colour, turns=turns)


def _layered_fir() -> tuple[Part, ...]:
    layers = [(0.42, 0.9, 0.40, -0.12), (0.22, 0.68, 0.33, 0.0), (0.02, 0.45, 0.25, 0.14)]
    trunk = Part(box(0.45, 0.84, 0.55, 1.0), (104, 68, 44))
    return (trunk, *(Part(((0.5, top), (0.5 + half, low), (0.5 - half, low)), tint) for top, low, half, tint in layers))


SHAPES: dict[str, Shape] = {
    "circle": _whole(oval(0.5, 0.5, 0.5)),
    "ellipse": _whole(oval(0.5, 0.5, 0.5, 0.34), turns=35),
    "sphere": Shape((Part(oval(0.5, 0.5, 0.5)), Part(oval(0.36, 0.32, 0.14, 0.1, -35), 0.5))),
    "square": _whole(box(0.06, 0.06, 0.94, 0.94), turns=10),
    "rectangle": _whole(box(0.0, 0.2, 1.0, 0.8), turns=8),
    "triangle": _whole(((0.5, 0.04), (1.0, 0.92), (0.0, 0.92)), turns=8),
    "diamond": _whole(((0.5, 0.0), (0.88, 0.5), (0.5, 1.0), (0.12, 0.5)), turns=6),
    "pentagon": _whole(regular(5), turns=20),
    "hexagon": _whole(regular(6), turns=30),
    "octagon": _whole(regular(8, -67.5), turns=15),
    "star": _whole(spokes(5, 0.21), turns=16),
    "heart": _whole(_heart(), turns=8, colour=(226, 44, 70)),
    "ring": _whole(oval(0.5, 0.5, 0.5), oval(0.5, 0.5, 0.31)),
    "cross": _whole(
        (
            (0.34, 0.0), (0.66, 0.0), (0.66, 0.34), (1.0, 0.34), (1.0, 0.66), (0.66, 0.66),
            (0.66, 1.0), (0.34, 1.0), (0.34, 0.66), (0.0, 0.66), (0.0, 0.34), (0.34, 0.34),
        ),
        turns=12,
    ),
    "stripe": _whole(box(-0.2, 0.4, 1.2, 0.6), turns=30),
    "arrow": _whole(
        ((0.0, 0.38), (0.55, 0.38), (0.55, 0.15), (1.0, 0.5), (0.55, 0.85), (0.55, 0.62), (0.0, 0.62)), turns=10
    ),
    "leaf": Shape((Part(oval(0.5, 0.5, 0.5, 0.24, -40)), Part(oval(0.5, 0.5, 0.44, 0.014, -40), -0.25)), (70, 160, 80)),
    "moon": Shape((Part(oval(0.5, 0.5, 0.5), holes=(oval(0.72, 0.4, 0.42),)),), (252, 240, 196), floats=True, turns=10),
    "sun": Shape(
        (Part(spokes(14, 0.33), -0.06), Part(oval(0.5, 0.5, 0.3), 0.1)), (255, 196, 40), floats=True, turns=12
    ),
    "cloud": Shape(
        (
            Part(oval(0.28, 0.6, 0.24, 0.18)), Part(oval(0.72, 0.6, 0.25, 0.18)),
            Part(oval(0.5, 0.48, 0.28, 0.26)), Part(oval(0.5, 0.66, 0.4, 0.13)),
        ),
        (246, 249, 252),
        floats=True,
    ),
    "planet": Shape(
        (
            Part(oval(0.5, 0.5, 0.5, 0.15, -18), 0.45, (oval(0.5, 0.5, 0.42, 0.1, -18),)),
            Part(oval(0.5, 0.5, 0.32)),
            # The near half of the ring, in front of the planet.
            Part((*oval(0.5, 0.5, 0.5, 0.15, -18)[:37], *oval(0.5, 0.5, 0.42, 0.1, -18)[36::-1]), 0.45),
        ),
        (222, 150, 92),
        floats=True,
        turns=15,
    ),
    "earth": Shape(
        (
            Part(oval(0.5, 0.5, 0.5)),
            Part(oval(0.34, 0.34, 0.2, 0.13, -30), (84, 170, 84)),
            Part(oval(0.42, 0.64, 0.1, 0.18, 15), (84, 170, 84)),
            Part(oval(0.72, 0.46, 0.13, 0.2, 20), (104, 182, 92)),
            Part(oval(0.6, 0.1, 0.2, 0.05), _SNOW),
            Part(oval(0.5, 0.93, 0.18, 0.04), _SNOW),
        ),
        (40, 120, 214),
        floats=True,
    ),
    "tree": Shape(
        (
            Part(((0.45, 0.6), (0.55, 0.6), (0.58, 1.0), (0.42, 1.0)), (112, 72, 46)),
            Part(oval(0.5, 0.34, 0.3, 0.32)), Part(oval(0.42, 0.26, 0.13, 0.12), 0.14),
            Part(oval(0.3, 0.48, 0.22, 0.2), -0.08), Part(oval(0.7, 0.48, 0.22, 0.2), -0.04),
        ),
        (58, 146, 74),
        stands=True,
    ),
    "fir": Shape(_layered_fir(), (36, 112, 82), stands=True),
    "house": Shape(
        (
            Part(box(0.66, 0.1, 0.77, 0.4), (140, 88, 78)),
            Part(box(0.14, 0.44, 0.86, 1.0)),
            Part(((0.5, 0.06), (0.98, 0.46), (0.02, 0.46)), (176, 66, 56)),
            Part(box(0.42, 0.66, 0.58, 1.0), (110, 70, 52)),
            Part(box(0.22, 0.56, 0.36, 0.72), _WINDOW), Part(box(0.64, 0.56, 0.78, 0.72), _WINDOW),
        ),
        (240, 222, 190),
        stands=True,
    ),
    "mountain": Shape(
        (
            Part(((0.5, 0.1), (1.1, 1.0), (-0.1, 1.0))),
            Part(((0.5, 0.1), (0.62, 0.5), (0.56, 1.0), (1.1, 1.0)), -0.16),
            Part(((0.5, 0.1), (0.67, 0.355), (0.58, 0.33), (0.5, 0.42), (0.42, 0.33), (0.33, 0.355)), _SNOW),
        ),
        (104, 116, 146),
        stands=True,
    ),
    "flower": Shape(
        (
            Part(box(0.485, 0.4, 0.515, 1.0), (70, 146, 74)), Part(oval(0.6, 0.8, 0.12, 0.05, -30), (84, 160, 84)),
            *_petals(10), Part(oval(0.5, 0.38, 0.13), (255, 206, 66)),
        ),
        (236, 98, 150),
        stands=True,
    ),
    "mushroom": Shape(
        (
            Part(((0.4, 0.5), (0.6, 0.5), (0.66, 1.0), (0.34, 1.0)), (244, 232, 212)),
            Part((*oval(0.5, 0.52, 0.46, 0.42)[36:], (0.96, 0.56), (0.04, 0.56))),
            Part(oval(0.34, 0.36, 0.08), _SNOW), Part(oval(0.6, 0.26, 0.07), _SNOW),
            Part(oval(0.74, 0.45, 0.06), _SNOW),
        ),
        (218, 52, 52),
        stands=True,
    ),
    "fish": Shape(
        (
            Part(((0.74, 0.5), (1.0, 0.26), (0.95, 0.5), (1.0, 0.74)), -0.12),
            Part(((0.36, 0.36), (0.62, 0.16), (0.62, 0.36)), -0.12),
            Part(oval(0.42, 0.5, 0.41, 0.24)), Part(oval(0.44, 0.6, 0.25, 0.1), 0.2),
            Part(oval(0.2, 0.44, 0.055), _SNOW), Part(oval(0.19, 0.44, 0.028), _INK),
        ),
        (252, 136, 54),
        turns=8,
    ),
    "boat": Shape(
        (
            Part(box(0.485, 0.04, 0.515, 0.7), (112, 78, 52)),
            Part(((0.53, 0.06), (0.9, 0.64), (0.53, 0.64)), _SNOW),
            Part(((0.47, 0.16), (0.47, 0.64), (0.18, 0.64)), 0.4),
            Part(((0.06, 0.7), (0.96, 0.7), (0.82, 0.96), (0.22, 0.96))),
        ),
        (190, 62, 56),
        stands=True,
    ),
    "bird": Shape(
        (
            Part(((0.72, 0.5), (1.0, 0.42), (0.96, 0.62)), -0.15),
            Part(oval(0.5, 0.52, 0.32, 0.21)), Part(oval(0.24, 0.38, 0.15)),
            Part(((0.11, 0.36), (0.0, 0.42), (0.12, 0.45)), (246, 170, 40)),
            Part(oval(0.56, 0.48, 0.2, 0.11, 20), -0.2), Part(oval(0.21, 0.35, 0.03), _INK),
        ),
        (70, 136, 206),
        floats=True,
    ),
    "cat": Shape(
        (
            Part(((0.1, 0.04), (0.44, 0.26), (0.12, 0.52))), Part(((0.9, 0.04), (0.56, 0.26), (0.88, 0.52))),
            Part(((0.16, 0.14), (0.34, 0.28), (0.18, 0.4)), (246, 168, 172)),
            Part(((0.84, 0.14), (0.66, 0.28), (0.82, 0.4)), (246, 168, 172)),
            Part(oval(0.5, 0.57, 0.44, 0.38)),
            Part(oval(0.33, 0.53, 0.085, 0.1), (168, 222, 110)), Part(oval(0.67, 0.53, 0.085, 0.1), (168, 222, 110)),
            Part(oval(0.33, 0.53, 0.03, 0.085), _INK), Part(oval(0.67, 0.53, 0.03, 0.085), _INK),
            Part(oval(0.5, 0.74, 0.16, 0.1), 0.5), Part(((0.45, 0.66), (0.55, 0.66), (0.5, 0.72)), (226, 110, 120)),
        ),
        (120, 116, 132),
    ),
    "fox": Shape(
        (
            Part(((0.08, 0.02), (0.42, 0.26), (0.12, 0.5))), Part(((0.92, 0.02), (0.58, 0.26), (0.88, 0.5))),
            Part(((0.14, 0.14), (0.3, 0.26), (0.16, 0.36)), _INK),
            Part(((0.86, 0.14), (0.7, 0.26), (0.84, 0.36)), _INK),
            Part(((0.12, 0.36), (0.3, 0.22), (0.7, 0.22), (0.88, 0.36), (0.96, 0.58), (0.5, 0.98), (0.04, 0.58))),
            Part(((0.04, 0.58), (0.34, 0.56), (0.5, 0.98)), _SNOW),
            Part(((0.96, 0.58), (0.66, 0.56), (0.5, 0.98)), _SNOW),
            Part(oval(0.33, 0.5, 0.045, 0.06), _INK), Part(oval(0.67, 0.5, 0.045, 0.06), _INK),
            Part(oval(0.5, 0.94, 0.06, 0.05), _INK),
        ),
        (236, 116, 44),
    ),
    "robot": Shape(
        (
            Part(box(0.48, 0.02, 0.52, 0.18), -0.3), Part(oval(0.5, 0.06, 0.055), (236, 70, 70)),
            Part(box(0.02, 0.4, 0.98, 0.6), -0.25), Part(box(0.1, 0.16, 0.9, 0.86)),
            Part(oval(0.32, 0.42, 0.12), _INK), Part(oval(0.68, 0.42, 0.12), _INK),
            Part(oval(0.32, 0.42, 0.07), (90, 224, 240)), Part(oval(0.68, 0.42, 0.07), (90, 224, 240)),
            Part(box(0.26, 0.66, 0.74, 0.76), _INK), Part(box(0.3, 0.68, 0.38, 0.74), _SNOW),
            Part(box(0.46, 0.68, 0.54, 0.74), _SNOW), Part(box(0.62, 0.68, 0.7, 0.74), _SNOW),
        ),
        (150, 164, 182),
    ),
}  # fmt: skip
