"""Read a prompt the way the built-in gallery understands it: figures, colours, counts, sizes, places and a setting.

For development and tests: a small vocabulary and a few rules, not a language model. Words it does not know are kept, so
that they can still shape a picture. Pure: no drawing here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from comfypod.emulator.gallery.colours import COLOURS, Colour, shade
from comfypod.emulator.gallery.shapes import SHAPES

_COLOUR_SYNONYMS = {
    "gray": "grey",
    "golden": "gold",
    "scarlet": "red",
    "azure": "blue",
    "lilac": "violet",
    "tan": "beige",
}

_SETTING_WORDS = {
    "sunset": ("sunset", "dusk", "evening", "twilight"),
    "dawn": ("dawn", "sunrise", "morning"),
    "night": ("night", "midnight", "nighttime", "starry"),
    "space": ("space", "galaxy", "universe", "cosmos", "nebula", "cosmic"),
    "sky": ("sky", "skies", "daylight", "noon", "day"),
    "sea": ("sea", "ocean", "water", "underwater", "lake", "river"),
    "meadow": ("meadow", "grass", "field", "garden", "park", "spring", "forest", "jungle", "countryside", "landscape"),
    "snow": ("snow", "snowy", "winter", "ice", "arctic"),
    "desert": ("desert", "sand", "beach", "dunes", "sahara"),
}
SETTINGS = {word: setting for setting, words in _SETTING_WORDS.items() for word in words}

_SHAPE_SYNONYMS = {
    "disc": "circle", "disk": "circle", "dot": "circle", "ball": "sphere", "globe": "earth", "box": "square",
    "cube": "square", "block": "square", "bar": "stripe", "line": "stripe", "donut": "ring", "doughnut": "ring",
    "hoop": "ring", "plus": "cross", "rhombus": "diamond", "gem": "diamond", "oval": "ellipse", "egg": "ellipse",
    "hill": "mountain", "peak": "mountain", "volcano": "mountain", "home": "house", "hut": "house", "cottage": "house",
    "cabin": "house", "pine": "fir", "oak": "tree", "rose": "flower", "tulip": "flower", "daisy": "flower",
    "blossom": "flower", "kitten": "cat", "ship": "boat", "sailboat": "boat", "crescent": "moon", "android": "robot",
    "world": "earth", "saturn": "planet", "wolf": "fox", "love": "heart",
}  # fmt: skip
_IRREGULAR_PLURALS = {"wolves": "wolf", "leaves": "leaf"}

_NUMBER_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_COUNTS = {word: number for number, word in enumerate(_NUMBER_WORDS, start=1)} | {
    "pair": 2, "couple": 2, "few": 3, "some": 4, "several": 5, "dozen": 12, "many": 9, "lots": 9,
}  # fmt: skip
_SCALES = {
    "tiny": 0.4, "small": 0.6, "little": 0.6, "mini": 0.5, "big": 1.35, "large": 1.35, "huge": 1.6, "giant": 1.7,
}  # fmt: skip
_TINTS = {"light": 0.4, "pale": 0.5, "pastel": 0.45, "dark": -0.4, "deep": -0.3}
PLACES = {
    "left": (0.22, 0.5), "right": (0.78, 0.5), "top": (0.5, 0.24), "above": (0.5, 0.24), "bottom": (0.5, 0.78),
    "below": (0.5, 0.78), "center": (0.5, 0.5), "centre": (0.5, 0.5), "middle": (0.5, 0.5),
}  # fmt: skip
_BEHIND_WORDS = frozenset({"on", "against", "over", "upon", "onto"})
_BACKDROP_WORDS = frozenset({"background", "backdrop", "wall", "canvas", "paper"})
_BREAKS = frozenset({"and", "with", "in", "at", "under", "near", "beside", "by"})
_FILLERS = frozenset({"a", "an", "the", "of", "to", "is", "its", "side", "coloured", "colored"})

_MAXIMUM_WORDS = 400
_MAXIMUM_ITEMS = 8
MAXIMUM_COUNT = 24


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to draw: ``count`` figures of one shape. ``None`` leaves the choice to the one who draws."""

    shape: str
    count: int = 1
    colour: Colour | None = None
    scale: float = 1.0
    place: str | None = None
    is_ground: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """A prompt as it was understood; ``text`` is the prompt in lower case, without punctuation."""

    text: str
    items: tuple[Item, ...] = ()
    backdrop: Colour | None = None
    setting: str | None = None
    unknown_words: tuple[str, ...] = ()

    @property
    def is_understood(self) -> bool:
        """Whether any word names something that can be drawn."""
        return bool(self.items or self.backdrop or self.setting)


def read_prompt(text: str) -> Scene:
    """Understand a prompt; every text, also an empty one, gives a scene."""
    words = re.findall(r"[^\W_]+", text.lower())
    reader = _Reader()
    for word in words[:_MAXIMUM_WORDS]:
        reader.read(word)
    reader.finish()
    return Scene(
        text=" ".join(words),
        items=tuple(reader.items[:_MAXIMUM_ITEMS]),
        backdrop=reader.backdrop,
        setting=reader.setting,
        unknown_words=tuple(reader.unknown_words),
    )


@dataclass(slots=True)
class _Pending:
    """Adjectives read since the last noun."""

    count: int | None = None
    colour: Colour | None = None
    tint: float = 0.0
    scale: float = 1.0
    place: str | None = None
    is_behind: bool = False

    def final_colour(self) -> Colour | None:
        return shade(self.colour, self.tint) if self.colour else None


@dataclass(slots=True)
class _Reader:
    """Collects what the words say, one word at a time."""

    items: list[Item] = field(default_factory=list)
    backdrop: Colour | None = None
    setting: str | None = None
    unknown_words: list[str] = field(default_factory=list)
    pending: _Pending = field(default_factory=_Pending)

    def read(self, word: str) -> None:
        rules: Sequence[Callable[[str], bool]] = (
            self._read_joint, self._read_colour, self._read_shape, self._read_setting, self._read_place,
            self._read_adjective, self._read_count,
        )  # fmt: skip
        if not any(rule(word) for rule in rules):
            self.unknown_words.append(word)

    def finish(self) -> None:
        """Take a colour that no noun followed ("… on blue", or just "blue") as the backdrop."""
        if self.backdrop is None and self.pending.colour:
            self.backdrop = self.pending.final_colour()

    def _read_joint(self, word: str) -> bool:
        if word in _BEHIND_WORDS:
            self.pending = _Pending(is_behind=True)
        elif word in _BACKDROP_WORDS:
            self.backdrop = self.pending.final_colour() or self.backdrop
            self.pending = _Pending()
        elif word in _BREAKS:
            self._end_backdrop()
        else:
            return word in _FILLERS
        return True

    def _end_backdrop(self) -> None:
        if self.pending.is_behind and self.pending.colour:
            self.backdrop = self.pending.final_colour()
            self.pending = _Pending()

    def _read_colour(self, word: str) -> bool:
        colour = COLOURS.get(_COLOUR_SYNONYMS.get(word, word))
        if colour is not None:
            self.pending.colour = colour
        return colour is not None

    def _read_shape(self, word: str) -> bool:
        shape, is_plural = _shape_of(word)
        if shape is None:
            return False
        pending, self.pending = self.pending, _Pending()
        self.items.append(
            Item(
                shape=shape,
                count=pending.count or (3 if is_plural else 1),
                colour=pending.final_colour(),
                scale=pending.scale,
                place=pending.place,
                is_ground=pending.is_behind and bool(self.items),
            )
        )
        return True

    def _read_setting(self, word: str) -> bool:
        setting = SETTINGS.get(word)
        if setting is not None:
            self.setting = self.setting or setting
            # "on a blue sea": the colour belonged to the setting, which has its own.
            self.pending = _Pending()
        return setting is not None

    def _read_place(self, word: str) -> bool:
        if word not in PLACES:
            return False
        is_after_noun = self.pending == _Pending(is_behind=self.pending.is_behind)
        if self.items and is_after_noun and self.items[-1].place is None:
            self.items[-1] = replace(self.items[-1], place=word)
            self.pending = _Pending()
        else:
            self.pending.place = word
        return True

    def _read_adjective(self, word: str) -> bool:
        self.pending.scale = _SCALES.get(word, self.pending.scale)
        self.pending.tint = _TINTS.get(word, self.pending.tint)
        return word in _SCALES or word in _TINTS

    def _read_count(self, word: str) -> bool:
        is_number = word.isascii() and word.isdigit() and len(word) <= 3
        count = int(word) if is_number else _COUNTS.get(word)
        if count is not None:
            self.pending.count = max(1, min(count, MAXIMUM_COUNT))
        return count is not None


def _shape_of(word: str) -> tuple[str | None, bool]:
    """The shape a word names, and whether the word is a plural."""
    singulars = (word, _IRREGULAR_PLURALS.get(word, ""), word.removesuffix("s"), word.removesuffix("es"))
    for singular in singulars:
        name = _SHAPE_SYNONYMS.get(singular, singular)
        if name in SHAPES:
            return name, singular != word
    return None, False
