"""The gallery draws what a prompt says, the same every time."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw

from comfypod.emulator.gallery.colours import COLOURS
from comfypod.emulator.gallery.picture import draw_picture, read_prompt
from comfypod.emulator.gallery.shapes import SHAPES
from comfypod.emulator.gallery.words import SETTINGS, Item

VARIATIONS = ("0", "1", "2", "3", "4", "5")


@functools.cache
def picture(prompt: str, width: int = 128, height: int = 128, variation: str = "0") -> np.ndarray:
    return np.asarray(draw_picture(read_prompt(prompt), width, height, variation)).astype(int)


def near(pixels: np.ndarray, colour: tuple[int, int, int], distance: float = 90) -> np.ndarray:
    """Where a picture has nearly this colour."""
    return np.linalg.norm(pixels - np.array(colour), axis=-1) < distance


def count_blobs(mask: np.ndarray, smallest: int = 30) -> int:
    """How many separate areas of at least ``smallest`` pixels a mask has."""
    image = Image.fromarray(mask.astype(np.uint8) * 255).copy()
    blobs = 0
    for y, x in np.argwhere(mask):
        if image.getpixel((int(x), int(y))) == 255:
            before = np.asarray(image).astype(int)
            ImageDraw.floodfill(image, (int(x), int(y)), 128)
            blobs += int((np.asarray(image) != before).sum() >= smallest)
    return blobs


@pytest.mark.parametrize("variation", VARIATIONS)
@pytest.mark.parametrize("size", [(128, 128), (256, 96), (96, 256)])
def test_red_circle_on_blue_looks_like_one(size: tuple[int, int], variation: str) -> None:
    pixels = picture("a red circle on blue", *size, variation)
    width, height = size
    red, green, blue = pixels[height // 2, width // 2]
    assert red > 150
    assert max(green, blue) < 90
    for y, x in ((2, 2), (2, -3), (-3, 2), (-3, -3)):
        red, green, blue = pixels[y, x]
        assert blue > 130
        assert blue > red + 60


@pytest.mark.parametrize("variation", VARIATIONS)
@pytest.mark.parametrize(("words", "count"), [("a red circle", 1), ("two red circles", 2), ("5 red circles", 5)])
def test_draws_as_many_as_the_prompt_says(words: str, count: int, variation: str) -> None:
    assert count_blobs(near(picture(f"{words} on white", variation=variation), COLOURS["red"])) == count


def test_plural_without_a_number_is_several() -> None:
    assert count_blobs(near(picture("red circles on white"), COLOURS["red"])) > 1


@pytest.mark.parametrize(
    ("place", "axis", "sign"), [("left", 1, -1), ("right", 1, 1), ("top", 0, -1), ("bottom", 0, 1)]
)
@pytest.mark.parametrize("form", ["a red circle on the {} on white", "a {} red circle on white"])
def test_places_figures_where_the_prompt_says(form: str, place: str, axis: int, sign: int) -> None:
    found = np.argwhere(near(picture(form.format(place)), COLOURS["red"]))
    assert sign * (found[:, axis].mean() - 64) > 15


def test_sizes_matter() -> None:
    small, plain, big = (
        near(picture(f"{words} red circle on white"), COLOURS["red"]).sum() for words in ("small", "", "huge")
    )
    assert small < 0.7 * plain < 0.9 * big


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_seen_and_differs_from_the_others(shape: str) -> None:
    seen = picture(f"a magenta {shape} on beige")
    others = [picture(f"a magenta {other} on beige") for other in SHAPES if other != shape]
    changed = ~near(seen, COLOURS["beige"], 110)
    assert changed.mean() > 0.02
    assert all(np.abs(seen - other).mean() > 1 for other in others)


def test_settings_set_the_light() -> None:
    light = {setting: picture(word).mean() for word, setting in SETTINGS.items()}
    assert max(light["night"], light["space"]) < 80
    assert min(light["snow"], light["sky"]) > 150


@pytest.mark.parametrize(
    ("prompt", "item", "backdrop", "setting"),
    [
        ("A RED CIRCLE, on BLUE!", Item("circle", 1, COLOURS["red"]), "blue", None),
        ("circle, green background", Item("circle"), "green", None),
        ("a hexagon against a teal wall with shadows", Item("hexagon"), "teal", None),
        ("three golden stars at night", Item("star", 3, COLOURS["gold"]), None, "night"),
        ("2 tiny foxes in the snow", Item("fox", 2, scale=0.4), None, "snow"),
        ("999 hearts on white", Item("heart", 24), "white", None),
        ("0 hearts", Item("heart", 1), None, None),
    ],
)
def test_reads_prompts(prompt: str, item: Item, backdrop: str | None, setting: str | None) -> None:
    scene = read_prompt(prompt)
    assert scene.items == (item,)
    assert scene.backdrop == (COLOURS[backdrop] if backdrop else None)
    assert scene.setting == setting


def test_figures_have_their_own_colours() -> None:
    scene = read_prompt("a green tree and a small pink house on the left at sunset")
    assert [(item.shape, item.place, item.scale) for item in scene.items] == [
        ("tree", None, 1.0),
        ("house", "left", 0.6),
    ]
    assert [item.colour for item in scene.items] == [COLOURS["green"], COLOURS["pink"]]


def test_dark_and_light_change_a_colour() -> None:
    dark, plain, light = (
        sum(read_prompt(f"{word} green circle").items[0].colour or ()) for word in ("dark", "", "light")
    )
    assert dark < plain < light


def test_unknown_words_still_make_their_own_picture() -> None:
    prompts = ["", "melancholy", "quantum soup", "soup quantum", "日本の庭", "ünïcode", "…!?", "a\x00b", "\ud800"]
    pictures = [picture(prompt, 64, 64) for prompt in prompts]
    assert read_prompt("quantum soup").unknown_words == ("quantum", "soup")
    assert all(pixels.std() > 5 for pixels in pictures)
    different = {pixels.tobytes() for pixels in pictures}
    # Punctuation, control characters and lone surrogates are no words.
    assert len(different) >= len(prompts) - 2


def test_unknown_words_change_the_composition_of_known_ones() -> None:
    assert not np.array_equal(picture("a red circle on blue"), picture("a serene red circle on blue"))


def test_variations_differ() -> None:
    pictures = {picture("three yellow stars on night", 64, 64, str(number)).tobytes() for number in range(30)}
    assert len(pictures) == 30


def test_long_prompts_are_no_trouble() -> None:
    assert picture("stars " * 100_000, 64, 64).shape == (64, 64, 3)


@pytest.mark.parametrize("size", [(8, 8), (8, 512), (512, 16)])
@pytest.mark.parametrize("prompt", ["", "24 stars at night", "a house and two trees at sunset", "wobble", "jazz tiles"])
def test_extreme_sizes(prompt: str, size: tuple[int, int]) -> None:
    assert draw_picture(read_prompt(prompt), *size).size == size


def test_is_the_same_in_every_process() -> None:
    program = (
        "import hashlib; from comfypod.emulator.gallery.picture import *;"
        "print(hashlib.sha256(draw_picture(read_prompt('two cats, bewildered'), 64, 64, 'x').tobytes()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    answer = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    here = draw_picture(read_prompt("two cats, bewildered"), 64, 64, "x").tobytes()
    assert answer.stdout.strip() == hashlib.sha256(here).hexdigest()
