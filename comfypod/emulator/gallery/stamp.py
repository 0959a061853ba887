"""Drawing for the built-in gallery: shaded, anti-aliased polygons and figures with a soft shadow, on Pillow images.

For development and tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from comfypod.emulator.gallery.colours import Colour, shade
from comfypod.emulator.gallery.shapes import Figure, Outline, Part, Point, oval

_SUPERSAMPLING = 3


def fill_polygon(canvas: Image.Image, part: Part, place: Callable[[Point], Point], colour: Colour) -> None:
    """Paint one part with soft shading; ``place`` maps its points to pixels.

    Only the covered box is supersampled, so that many small figures stay cheap.
    """
    points = [place(point) for point in part.outline]
    left, top = (math.floor(min(values)) - 1 for values in zip(*points, strict=True))
    right, bottom = (math.ceil(max(values)) + 1 for values in zip(*points, strict=True))
    left, top, right, bottom = max(0, left), max(0, top), min(canvas.width, right), min(canvas.height, bottom)
    if right <= left or bottom <= top:
        return
    mask = _mask(points, [[place(point) for point in hole] for hole in part.holes], (left, top, right, bottom))
    canvas.paste(_ramp(mask.size, shade(colour, 0.12), shade(colour, -0.12)), (left, top), mask)


def _mask(
    outline: Sequence[Point], holes: Sequence[Sequence[Point]], covered: tuple[int, int, int, int]
) -> Image.Image:
    """The anti-aliased mask (mode L) of an outline inside the box ``covered`` of the canvas."""
    left, top, right, bottom = covered
    mask = Image.new("L", ((right - left) * _SUPERSAMPLING, (bottom - top) * _SUPERSAMPLING))
    draw = ImageDraw.Draw(mask)
    for ink, ring in ((255, outline), *((0, hole) for hole in holes)):
        draw.polygon([((x - left) * _SUPERSAMPLING, (y - top) * _SUPERSAMPLING) for x, y in ring], fill=ink)
    return mask.reduce(_SUPERSAMPLING)


def _ramp(size: tuple[int, int], start: Colour, end: Colour) -> Image.Image:
    """A picture that goes from ``start`` at the top to ``end`` at the bottom."""
    ramp = ImageOps.colorize(Image.linear_gradient("L").resize((1, 64)), start, end)
    return ramp.resize(size, Image.Resampling.BILINEAR)


def stamp(canvas: Image.Image, figure: Figure) -> None:
    """Draw a figure, with its shadow."""
    across = math.cos(math.radians(figure.turn)) * figure.size
    down = math.sin(math.radians(figure.turn)) * figure.size

    def place(point: Point) -> Point:
        x, y = point[0] - 0.5, point[1] - 0.5
        return figure.middle[0] + x * across - y * down, figure.middle[1] + x * down + y * across

    if figure.shadow > 0:
        _cast_shadow(canvas, figure, place)
    for part in figure.shape.parts:
        own = shade(figure.colour, part.paint) if isinstance(part.paint, float) else part.paint
        fill_polygon(canvas, part, place, own)


def _cast_shadow(canvas: Image.Image, figure: Figure, place: Callable[[Point], Point]) -> None:
    """Darken the canvas under a figure: its silhouette, blurred, a little lower. Drawn small: it is soft anyway."""
    scale = max(1, round(figure.size / 64))
    silhouette = Image.new("L", (max(1, canvas.width // scale), max(1, canvas.height // scale)))
    for part in figure.shape.parts:
        mask = Image.new("L", silhouette.size)
        draw = ImageDraw.Draw(mask)
        for ink, ring in ((255, part.outline), *((0, hole) for hole in part.holes)):
            points = (place(point) for point in ring)
            draw.polygon([(x / scale, (y + figure.size * 0.04) / scale) for x, y in points], fill=ink)
        silhouette = ImageChops.lighter(silhouette, mask)
    blur = ImageFilter.GaussianBlur(figure.size * 0.035 / scale)
    soft = silhouette.filter(blur).point(lambda value: value * figure.shadow)
    canvas.paste((0, 0, 16), (0, 0), soft.resize(canvas.size, Image.Resampling.BILINEAR))


def veil(canvas: Image.Image, mask: Image.Image, colour: Colour, strength: float, blur: float = 0.0) -> None:
    """Lay ``colour`` at ``strength`` (0..1) where ``mask`` (mode L), blurred by ``blur`` pixels, is white."""
    if blur:
        mask = mask.filter(ImageFilter.GaussianBlur(blur))
    canvas.paste(colour, (0, 0), mask.point(lambda value: value * strength))


def glow(canvas: Image.Image, outline: Outline, colour: Colour, strength: float, blur: float) -> None:
    """Lay one translucent, soft-edged outline (pixels) over the canvas."""
    mask = Image.new("L", canvas.size)
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    veil(canvas, mask, colour, strength, blur)


def spot(
    canvas: Image.Image, x: float, y: float, across: float, *, down: float | None = None, turn: float = 0.0
) -> Outline:
    """An ellipse in pixels: its middle in shares of width and height, its radii in shares of the shorter side."""
    unit = min(canvas.size)
    middle = (x * canvas.width, y * canvas.height)
    return oval(*middle, across * unit, (across if down is None else down) * unit, turn)


def paint(canvas: Image.Image, part: Part, colour: Colour) -> None:
    """Paint a part whose coordinates are shares of the canvas's width and height."""
    fill_polygon(canvas, part, lambda point: (point[0] * canvas.width, point[1] * canvas.height), colour)


def paint_pixels(canvas: Image.Image, part: Part, colour: Colour) -> None:
    """Paint a part whose coordinates are pixels."""
    fill_polygon(canvas, part, lambda point: point, colour)
