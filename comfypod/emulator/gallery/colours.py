"""Colours of the built-in gallery: their names, and mixing them. Pure."""

from __future__ import annotations

Colour = tuple[int, int, int]
"""Red, green and blue, 0..255."""

COLOURS: dict[str, Colour] = {
    "red": (226, 44, 48),
    "crimson": (176, 22, 52),
    "coral": (255, 118, 92),
    "orange": (250, 138, 28),
    "gold": (238, 178, 34),
    "yellow": (255, 214, 46),
    "lime": (158, 214, 42),
    "green": (46, 158, 74),
    "olive": (128, 134, 46),
    "teal": (18, 134, 136),
    "turquoise": (46, 200, 190),
    "cyan": (40, 196, 232),
    "blue": (30, 98, 216),
    "navy": (22, 36, 92),
    "indigo": (74, 58, 184),
    "purple": (134, 58, 188),
    "violet": (162, 104, 232),
    "magenta": (222, 40, 152),
    "pink": (250, 142, 182),
    "brown": (134, 84, 48),
    "beige": (232, 214, 180),
    "white": (248, 248, 246),
    "silver": (190, 198, 208),
    "grey": (134, 140, 148),
    "black": (24, 24, 30),
}


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """``first`` with ``share`` (0..1) of ``second`` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def shade(colour: Colour, amount: float) -> Colour:
    """``colour`` lightened (``amount`` > 0) or darkened (< 0); 1 gives white, -1 black."""
    return mix(colour, (255, 255, 255) if amount > 0 else (0, 0, 0), min(1.0, abs(amount)))
