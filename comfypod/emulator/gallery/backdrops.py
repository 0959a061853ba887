"""Backgrounds of the built-in gallery: coloured gradients with an ornament, and landscapes.

For development and tests. Everything is drawn from a seeded generator, so that the same words give the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from comfypod.emulator.gallery.colours import Colour, mix, shade
from comfypod.emulator.gallery.shapes import Part, oval, spokes
from comfypod.emulator.gallery.stamp import glow, paint, spot, veil

Stops = tuple[tuple[float, Colour], ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """A landscape: the sky from top to bottom, the ground (None: no ground unless a figure stands), and its extras."""

    sky: Stops
    ground: Colour | None
    bare_ground: Colour
    extras: tuple[str, ...] = ()


SETTINGS: dict[str, Setting] = {
    "sunset": Setting(
        ((0.0, (52, 32, 98)), (0.35, (168, 62, 118)), (0.58, (244, 122, 82)), (0.8, (255, 206, 120))),
        (58, 32, 66), (58, 32, 66), ("low sun", "streaks"),
    ),
    "dawn": Setting(
        ((0.0, (110, 142, 210)), (0.4, (206, 170, 214)), (0.66, (255, 196, 178)), (0.85, (255, 232, 190))),
        (104, 128, 122), (104, 128, 122), ("low sun", "streaks"),
    ),
    "night": Setting(
        ((0.0, (8, 12, 42)), (0.6, (26, 40, 96)), (1.0, (56, 66, 138))), None, (14, 20, 48), ("stars",),
    ),
    "space": Setting(
        ((0.0, (6, 6, 22)), (0.5, (34, 16, 66)), (1.0, (10, 18, 52))), None, (30, 26, 54), ("nebula", "stars"),
    ),
    "sky": Setting(
        ((0.0, (58, 140, 226)), (0.6, (142, 202, 246)), (1.0, (220, 240, 252))), None, (116, 178, 92),
        ("clouds",),
    ),
    "sea": Setting(
        ((0.0, (120, 196, 240)), (0.55, (222, 242, 250)), (1.0, (222, 242, 250))), (22, 112, 164), (22, 112, 164),
        ("clouds",),
    ),
    "meadow": Setting(
        ((0.0, (92, 172, 238)), (0.7, (214, 238, 250)), (1.0, (236, 246, 240))), (104, 174, 82), (104, 174, 82),
        ("clouds",),
    ),
    "snow": Setting(
        ((0.0, (116, 152, 200)), (0.7, (214, 226, 242)), (1.0, (240, 244, 250))), (236, 242, 250), (236, 242, 250),
        ("flakes",),
    ),
    "desert": Setting(
        ((0.0, (74, 160, 214)), (0.6, (250, 226, 180)), (1.0, (255, 240, 206))), (226, 170, 98), (226, 170, 98),
        ("low sun",),
    ),
}  # fmt: skip


def paint_gradient(size: tuple[int, int], stops: Stops, tilt: float = 0.0) -> Image.Image:
    """A smooth gradient through colour stops (positions 0..1 from top to bottom), tilted by ``tilt`` (-1..1)."""
    rows, columns = np.mgrid[0:96, 0:96].astype(np.float64) / 95
    position = np.clip(rows + tilt * (columns - 0.5), 0, 1)
    places = [place for place, _ in stops]
    channels = [np.interp(position, places, [colour[channel] for _, colour in stops]) for channel in range(3)]
    small = Image.fromarray(np.round(np.stack(channels, axis=-1)).astype(np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def paint_plain(size: tuple[int, int], colour: Colour, random: np.random.Generator) -> Image.Image:
    """One colour, a little lighter on one side, with a quiet ornament in its own tone."""
    light, dark = shade(colour, random.uniform(0.08, 0.2)), shade(colour, -random.uniform(0.12, 0.22))
    canvas = paint_gradient(size, ((0.0, light), (0.5, colour), (1.0, dark)), tilt=random.uniform(-0.7, 0.7))
    ornaments = (_halo, _bokeh, _rays, _dots, _arcs)
    ornaments[random.integers(len(ornaments))](canvas, light, random)
    return canvas


def paint_landscape(
    size: tuple[int, int], setting: Setting, random: np.random.Generator, *, has_ground: bool
) -> tuple[Image.Image, float]:
    """The landscape and the height of its ground (0..1 of the picture, from the top)."""
    canvas = paint_gradient(size, setting.sky, tilt=random.uniform(-0.15, 0.15))
    horizon = random.uniform(0.66, 0.76)
    for extra in setting.extras:
        _EXTRAS[extra](canvas, horizon, random)
    if has_ground or setting.ground:
        ground = setting.ground or setting.bare_ground
        _hills(canvas, horizon - 0.05, mix(ground, setting.sky[-1][1], 0.35), random)
        _hills(canvas, horizon + 0.02, ground, random)
        _hills(canvas, horizon + 0.16, shade(ground, -0.18), random)
    return canvas, horizon + 0.08


def _halo(canvas: Image.Image, light: Colour, random: np.random.Generator) -> None:
    light_spot = spot(canvas, random.uniform(0.4, 0.6), random.uniform(0.4, 0.6), random.uniform(0.34, 0.46))
    glow(canvas, light_spot, shade(light, 0.3), 0.5, min(canvas.size) * 0.12)


def _bokeh(canvas: Image.Image, light: Colour, random: np.random.Generator) -> None:
    for x, y, size in random.random((9, 3)):
        glow(canvas, spot(canvas, x, y, 0.03 + 0.1 * size), shade(light, 0.25), 0.3, min(canvas.size) * 0.006)


def _rays(canvas: Image.Image, light: Colour, random: np.random.Generator) -> None:
    fan = spokes(int(random.integers(9, 16)), 0.02, 1.2, random.uniform(0, 40))
    placed = tuple((x * canvas.width, y * canvas.height) for x, y in fan)
    glow(canvas, placed, shade(light, 0.2), 0.3, min(canvas.size) * 0.004)


def _dots(canvas: Image.Image, light: Colour, random: np.random.Generator) -> None:
    pitch = min(canvas.size) / random.uniform(10, 16)
    radius = pitch * random.uniform(0.1, 0.2)
    mask = Image.new("L", canvas.size)
    draw = ImageDraw.Draw(mask)
    for row in range(math.ceil(canvas.height / pitch) + 1):
        for column in range(math.ceil(canvas.width / pitch) + 1):
            draw.circle(((column + 0.5 * (row % 2)) * pitch, row * pitch), radius, fill=255)
    veil(canvas, mask, shade(light, 0.2), 0.4, pitch * 0.03)


def _arcs(canvas: Image.Image, light: Colour, random: np.random.Generator) -> None:
    unit = min(canvas.size)
    corner = (float(random.integers(2)) * canvas.width, float(random.integers(2)) * canvas.height)
    mask = Image.new("L", canvas.size)
    draw = ImageDraw.Draw(mask)
    for step in range(2, 16, 2):
        draw.circle(corner, unit * 0.1 * step, outline=255, width=max(1, round(unit * 0.05)))
    veil(canvas, mask, shade(light, 0.2), 0.25, unit * 0.003)


def _hills(canvas: Image.Image, height: float, colour: Colour, random: np.random.Generator) -> None:
    phases = random.uniform(0, 2 * math.pi, 2)
    steps = [step / 64 for step in range(-2, 67)]
    crest = [(x, height + 0.022 * math.sin(5 * x + phases[0]) + 0.012 * math.sin(11 * x + phases[1])) for x in steps]
    paint(canvas, Part((*crest, (1.1, 1.05), (-0.1, 1.05))), colour)


def _draw_stars(canvas: Image.Image, _horizon: float, random: np.random.Generator) -> None:
    mask = Image.new("L", canvas.size)
    draw = ImageDraw.Draw(mask)
    for x, y, brightness in random.random((90, 3)):
        radius = min(canvas.size) * (0.0009 + 0.0024 * brightness**4)
        # A star smaller than a pixel fills it only in part.
        cover = min(1.0, radius / 0.5)
        middle = (x * canvas.width, y * canvas.height)
        draw.circle(middle, max(0.5, radius), fill=round((90 + 165 * brightness) * cover))
    veil(canvas, mask, (255, 255, 244), 0.9)


def _draw_flakes(canvas: Image.Image, _horizon: float, random: np.random.Generator) -> None:
    unit = min(canvas.size)
    mask = Image.new("L", canvas.size)
    draw = ImageDraw.Draw(mask)
    for x, y, size in random.random((70, 3)):
        draw.circle((x * canvas.width, y * canvas.height), unit * (0.002 + 0.006 * size), fill=255)
    veil(canvas, mask, (255, 255, 255), 0.85, unit * 0.002)


_PUFFS = ((-0.9, 0.0, 0.6), (0.0, 0.3, 0.85), (0.9, 0.0, 0.65), (0.2, -0.1, 0.9))


def _draw_clouds(canvas: Image.Image, horizon: float, random: np.random.Generator) -> None:
    unit = min(canvas.size)
    for _ in range(int(random.integers(2, 5))):
        x, y, size = random.random(), random.uniform(0.08, horizon - 0.28), random.uniform(0.07, 0.15) * unit
        mask = Image.new("L", canvas.size)
        draw = ImageDraw.Draw(mask)
        for across, up, wide in _PUFFS:
            middle = (x * canvas.width + size * across, y * canvas.height - size * up)
            draw.polygon(oval(*middle, size * wide, size * wide * 0.55), fill=255)
        veil(canvas, mask, (255, 255, 255), 0.75, unit * 0.012)


def _draw_low_sun(canvas: Image.Image, horizon: float, random: np.random.Generator) -> None:
    x, y = random.uniform(0.25, 0.75), horizon - random.uniform(0.06, 0.14)
    for radius, blur, strength in ((0.24, 0.1, 0.5), (0.1, 0.004, 1.0)):
        glow(canvas, spot(canvas, x, y, radius), (255, 240, 190), strength, min(canvas.size) * blur)


def _draw_streaks(canvas: Image.Image, horizon: float, random: np.random.Generator) -> None:
    for _ in range(int(random.integers(4, 8))):
        x, y = random.random(), random.uniform(0.1, horizon - 0.1)
        band = spot(canvas, x, y, random.uniform(0.15, 0.4), down=random.uniform(0.006, 0.016))
        glow(canvas, band, (255, 214, 196), 0.4, min(canvas.size) * 0.006)


def _draw_nebula(canvas: Image.Image, _horizon: float, random: np.random.Generator) -> None:
    for tone in ((150, 60, 190), (40, 110, 210), (220, 90, 150)):
        wide = random.uniform(0.15, 0.35)
        cloud = spot(canvas, random.random(), random.random(), wide, down=wide * 0.5, turn=random.uniform(0, 180))
        glow(canvas, cloud, tone, 0.5, min(canvas.size) * 0.09)


_EXTRAS: dict[str, Callable[[Image.Image, float, np.random.Generator], None]] = {
    "stars": _draw_stars, "clouds": _draw_clouds, "low sun": _draw_low_sun, "streaks": _draw_streaks,
    "nebula": _draw_nebula, "flakes": _draw_flakes,
}  # fmt: skip
