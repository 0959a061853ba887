"""Abstract pictures of the built-in gallery, for words it does not know, and palettes whose colours go together.

For development and tests. Everything is drawn from a seeded generator, so that the same words give the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from comfypod.emulator.gallery.backdrops import paint_gradient
from comfypod.emulator.gallery.colours import Colour, mix, shade
from comfypod.emulator.gallery.shapes import Outline, Part, Point, box, oval
from comfypod.emulator.gallery.stamp import glow, paint, paint_pixels, spot


def paint_abstract(
    size: tuple[int, int], palette: Sequence[Colour], style: int, random: np.random.Generator
) -> Image.Image:
    """A picture for words without a known figure; ``style`` picks the kind, the generator its composition."""
    styles = (_ridges, _orbits, _tiles, _blossoms, _ribbons)
    stops = ((0.0, shade(palette[0], 0.25)), (1.0, shade(palette[0], -0.2)))
    canvas = paint_gradient(size, stops, random.uniform(-0.6, 0.6))
    styles[style % len(styles)](canvas, palette, random)
    return canvas


def harmonious_palette(random: np.random.Generator) -> tuple[Colour, ...]:
    """Five colours that go together: a dark or light ground, two neighbours in hue, an opposite and a light one."""
    hue = random.uniform(0, 360)
    is_dark = random.random() < 0.6
    ground = _from_hue(hue, 0.55 if is_dark else 0.28, 0.32 if is_dark else 0.95)
    opposite = hue + random.uniform(150, 210)
    return (
        ground,
        _from_hue(hue + random.uniform(25, 50), 0.56, 0.84),
        _from_hue(opposite, 0.62, 0.93),
        _from_hue(opposite + random.uniform(25, 45), 0.42, 0.96),
        _from_hue(hue - 30, 0.12, 0.98),
    )


def _from_hue(hue: float, saturation: float, value: float) -> Colour:
    def channel(shift: float) -> int:
        step = (shift + hue / 60) % 6
        return round(255 * (value - value * saturation * max(0.0, min(step, 4 - step, 1.0))))

    return channel(5), channel(3), channel(1)


def _ridges(canvas: Image.Image, palette: Sequence[Colour], random: np.random.Generator) -> None:
    """Misty ridges one behind the other, with a disc above."""
    disc = spot(canvas, random.uniform(0.25, 0.75), random.uniform(0.2, 0.4), random.uniform(0.09, 0.16))
    paint_pixels(canvas, Part(disc), palette[2])
    mist, depths = mix(palette[4], palette[1], 0.5), shade(palette[0], -0.35)
    count = int(random.integers(4, 7))
    for layer in range(count):
        nearness = layer / (count - 1)
        crest = _crest(0.42 + 0.45 * nearness, random)
        paint(canvas, Part((*crest, (1.1, 1.05), (-0.1, 1.05))), mix(mist, depths, nearness))


def _crest(height: float, random: np.random.Generator) -> list[Point]:
    """A hilly line from the left to the right edge, in shares of the canvas."""
    phases, swings = random.uniform(0, 2 * math.pi, 3), random.uniform(0.015, 0.05, 3)
    places = np.arange(-2, 99) / 96
    waves = np.sin(np.outer(places, (4, 12, 20)) + phases) @ swings
    return [(float(x), float(y)) for x, y in zip(places, height + waves, strict=True)]


def _orbits(canvas: Image.Image, palette: Sequence[Colour], random: np.random.Generator) -> None:
    """Rings around a body, with small bodies on them."""
    x, y = random.uniform(0.35, 0.65), random.uniform(0.35, 0.65)
    unit = min(canvas.size)
    for index in range(int(random.integers(4, 7)), 0, -1):
        radius = 0.12 + 0.1 * index
        hole = spot(canvas, x, y, radius - 0.006 - 0.004 * (index % 3))
        paint_pixels(canvas, Part(spot(canvas, x, y, radius), holes=(hole,)), mix(palette[0], palette[4], 0.55))
        angle = random.uniform(0, 2 * math.pi)
        across, down = radius * math.cos(angle) * unit / canvas.width, radius * math.sin(angle) * unit / canvas.height
        moon = spot(canvas, x + across, y + down, random.uniform(0.02, 0.05))
        paint_pixels(canvas, Part(moon), palette[1 + index % 4])
    paint_pixels(canvas, Part(spot(canvas, x, y, random.uniform(0.1, 0.15))), palette[2])


def _tiles(canvas: Image.Image, palette: Sequence[Colour], random: np.random.Generator) -> None:
    """A board of squares with quarter circles, triangles and discs."""
    across = int(random.integers(4, 7))
    pitch = max(canvas.size) / across
    for row in range(math.ceil(canvas.height / pitch)):
        for column in range(math.ceil(canvas.width / pitch)):
            ground, ink = random.permutation(len(palette))[:2]
            left, top = column * pitch, row * pitch
            for outline, colour in ((box(0, 0, 1, 1), palette[ground]), (_tile_figure(random), palette[ink])):
                inside = tuple((left + min(1, max(0, x)) * pitch, top + min(1, max(0, y)) * pitch) for x, y in outline)
                paint_pixels(canvas, Part(inside), colour)


def _tile_figure(random: np.random.Generator) -> Outline:
    """A figure of the unit square; what sticks out of it is to be cut."""
    x, y = float(random.integers(2)), float(random.integers(2))
    figures = (oval(x, y, 1.0), oval(0.5, 0.5, 0.36), ((0.0, 0.0), (1.0, 0.0), (x, 1.0)), oval(0.5, y, 0.5))
    return figures[random.integers(len(figures))]


def _blossoms(canvas: Image.Image, palette: Sequence[Colour], random: np.random.Generator) -> None:
    """Translucent rosettes."""
    unit = min(canvas.size)
    for index in range(int(random.integers(5, 9))):
        x, y, radius = random.uniform(0.1, 0.9), random.uniform(0.1, 0.9), random.uniform(0.1, 0.24)
        petals, start = int(random.integers(6, 12)), random.uniform(0, 90)
        for petal in range(petals):
            turn = start + 360 * petal / petals
            middle_x = x * canvas.width + 0.6 * radius * unit * math.cos(math.radians(turn))
            middle_y = y * canvas.height + 0.6 * radius * unit * math.sin(math.radians(turn))
            leaf = oval(middle_x, middle_y, radius * unit * 0.5, radius * unit * 0.2, turn)
            glow(canvas, leaf, palette[1 + index % 3], 0.6, 0.6)
        glow(canvas, spot(canvas, x, y, radius * 0.2), palette[4], 0.95, 0.6)


def _ribbons(canvas: Image.Image, palette: Sequence[Colour], random: np.random.Generator) -> None:
    """Flowing bands from side to side."""
    count = int(random.integers(6, 10))
    slope, swing, phase = random.uniform(-0.5, 0.5), random.uniform(0.05, 0.14), random.uniform(0, 2 * math.pi)
    steps = [step / 96 for step in range(-2, 99)]
    for index in range(count):
        top = -0.2 + 1.4 * index / count
        edge = [(x, top + slope * (x - 0.5) + swing * math.sin(4.5 * x + phase + 0.45 * index)) for x in steps]
        colour = mix(palette[index % 5], palette[(index + 1) % 5], random.uniform(0, 0.5))
        paint(canvas, Part((*edge, (1.1, 1.6), (-0.1, 1.6))), colour)
