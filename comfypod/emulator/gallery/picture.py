"""A small procedural gallery: draws a picture for any prompt, so that an engine without a model has something to show.

For development and tests; not a model. A prompt is read by a few rules (`comfypod.emulator.gallery.words`), figures
and a background are drawn with Pillow, and words the rules do not know still choose palette and composition through
SHA-256.
The same words, variation and size give the same picture bit for bit; other variations give other compositions of the
same things.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from comfypod.emulator.gallery import backdrops
from comfypod.emulator.gallery.abstract import harmonious_palette, paint_abstract
from comfypod.emulator.gallery.colours import Colour, mix, shade
from comfypod.emulator.gallery.layout import arrange
from comfypod.emulator.gallery.shapes import SHAPES
from comfypod.emulator.gallery.stamp import stamp
from comfypod.emulator.gallery.words import Item, Scene, read_prompt

__all__ = ["Scene", "draw_picture", "read_prompt", "stable_generator"]


def stable_generator(*words: str) -> np.random.Generator:
    """A random generator that depends on nothing but ``words``; the same on every machine and in every process."""
    digest = hashlib.sha256("\x00".join(words).encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def draw_picture(scene: Scene, width: int, height: int, variation: str = "") -> Image.Image:
    """Draw a scene.

    Args:
        scene: what `read_prompt` made of the prompt.
        width: pixels.
        height: pixels.
        variation: any text; another one gives another composition of the same scene.

    Returns:
        An RGB picture of ``width`` x ``height`` pixels.
    """
    words = stable_generator("palette", scene.text)
    palette = harmonious_palette(words)
    style = int(words.integers(1 << 16))
    random = stable_generator("composition", scene.text, variation)
    canvas, ground = _paint_background(scene, (width, height), palette, style, random)
    for figure in arrange(scene.items, canvas.size, palette, ground, random):
        stamp(canvas, figure)
    return canvas


def _paint_background(
    scene: Scene, size: tuple[int, int], palette: Sequence[Colour], style: int, random: np.random.Generator
) -> tuple[Image.Image, float | None]:
    """The background and the height of its ground (0..1), or None where nothing can stand on it."""
    stands = any(SHAPES[item.shape].stands for item in scene.items)
    if scene.setting:
        setting = backdrops.SETTINGS[scene.setting]
        canvas, ground = backdrops.paint_landscape(size, setting, random, has_ground=stands)
        return canvas, ground if stands or setting.ground else None
    if scene.backdrop is None and not scene.items:
        return paint_abstract(size, palette, style, random), None
    colour = scene.backdrop or _contrasting(palette[0], scene.items)
    if not scene.items:
        tones = (colour, shade(colour, 0.35), shade(colour, -0.3), mix(colour, palette[2], 0.35), shade(colour, 0.6))
        return paint_abstract(size, tones, style, random), None
    if stands:
        land = backdrops.Setting(((0.0, colour), (1.0, shade(colour, 0.55))), None, shade(colour, -0.42))
        return backdrops.paint_landscape(size, land, random, has_ground=True)
    return backdrops.paint_plain(size, colour, random), None


def _contrasting(colour: Colour, items: Sequence[Item]) -> Colour:
    """``colour``, lightened or darkened if the figures' colours would be lost on it."""
    wanted = next((item.colour for item in items if item.colour), None)
    if wanted is None or math.dist(colour, wanted) > 120:
        return colour
    return shade(colour, 0.7) if sum(wanted) < 390 else shade(colour, -0.6)
