"""Content rules: what may not be asked for, looked at before a GPU is touched. Pure, but for reading the list.

A deny list has one entry a line: a word or several, or ``word*`` for every word that begins so; ``#`` is a comment.
Entries match whole words, however they are written: capitals, accents, letters of other alphabets that look the same,
invisible characters, digits for letters (``n4ked``), stretched (``naaaked``) or spaced (``n a k e d``) letters.

It is a hurdle and no judge of meaning: for that, a check of one's own can be named (``module:function``).
"""

from __future__ import annotations

import importlib
import logging
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from comfypod.errors import ConfigurationError
from comfypod.logs import event

Check = Callable[[str, str], str | None]
"""``check(text, user)``: a sentence that says why the text is refused, or None. It is called in a thread."""

LARGEST_LIST_BYTES = 4_000_000
REASON = "That is not something this server makes pictures of. Please ask for something else."
CHECK_FAILED = "Your text could not be checked just now, so nothing was made of it. Please try again later."

# The small letters of other alphabets that pass for Latin ones at a glance, after
# https://www.unicode.org/Public/security/latest/confusables.txt.
_LOOK_ALIKES = str.maketrans(
    "авгеикмнорстухьіјѕԁԛԝһӏ" + "αβγεηικνορτυχω" + "ɑɡıłøđħŧƒɩʀʏɢɴꜱ",
    "abreukmhopctyxbijsdqwhl" + "abyenikvoptuxw" + "agilodhtfirygns",
)
_DIGITS = str.maketrans("034579@$€", "oeastgase")
_WORD = re.compile(r"[\w@$€]+")
_RUN = re.compile(r"(.)\1{2,}")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Letters of languages that put no spaces between words: there an entry matches anywhere."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a text is refused: ``reason`` for its author, ``rule`` for the log, which never has the text itself."""

    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class DenyList:
    """Entries, folded: ``phrases`` by their words, ``prefixes`` of words, ``parts`` of any text; each -> its line."""

    phrases: dict[tuple[str, ...], int]
    prefixes: dict[str, int]
    parts: dict[str, int]

    @classmethod
    def parse(cls, text: str) -> DenyList:
        """Read a list."""
        phrases: dict[tuple[str, ...], int] = {}
        prefixes: dict[str, int] = {}
        parts: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            entry = fold(line.partition("#")[0]).strip()
            words = tuple(_WORD.findall(entry))
            if not words:
                continue
            if _UNSPACED.search(entry):
                parts[entry] = number
            elif entry.endswith("*") and len(words) == 1:
                prefixes[words[0]] = number
            else:
                phrases[words] = number
        return cls(phrases, prefixes, parts)

    def line_of(self, text: str) -> int | None:
        """The line of an entry that the text has; None if it has none."""
        folded = fold(text)
        found = next((line for part, line in self.parts.items() if part in folded), None)
        if found is not None or not (self.phrases or self.prefixes):
            return found
        return next((line for words in _readings(folded) if (line := self._line_of_words(words))), None)

    def _line_of_words(self, words: list[str]) -> int | None:
        lengths = {len(phrase) for phrase in self.phrases}
        for start, word in enumerate(words):
            for length in lengths:
                if line := self.phrases.get(tuple(words[start : start + length])):
                    return line
            if line := next((line for prefix, line in self.prefixes.items() if word.startswith(prefix)), None):
                return line
        return None


@dataclass(frozen=True, slots=True)
class Rules:
    """All that is asked of a text."""

    deny: DenyList | None = None
    check: Check | None = None

    @classmethod
    def load(cls, deny_list: Path | None = None, check: str | None = None) -> Rules:
        """Read the list, and find the check (``module:function``).

        Raises:
            ConfigurationError: one of them is not there, or not usable.
        """
        return cls(_read_list(deny_list) if deny_list else None, _find_check(check) if check else None)

    def refusal(self, texts: Iterable[str], user: str) -> Refusal | None:
        """Why these texts are refused; None if they are not. It may take as long as the check does."""
        for text in texts:
            if self.deny is not None and (line := self.deny.line_of(text)):
                return Refusal(f"deny list, line {line}", REASON)
            if self.check is not None and (reason := _ask(self.check, text, user)):
                return reason
        return None


def fold(text: str) -> str:
    """The text as it looks at a glance: without capitals, accents, and what cannot be seen, in Latin letters."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    shown = "".join(item for item in plain if unicodedata.category(item) not in {"Mn", "Me", "Cf"})
    return shown.translate(_LOOK_ALIKES)


def _readings(folded: str) -> Iterator[list[str]]:
    """The words of a text, in the ways in which they can be read."""
    plain = [word for raw in _WORD.findall(folded) for word in raw.split("_") if word]
    yield plain
    for one in ("i", "l"):
        letters = [_as_letters(word, one) for word in plain]
        for stretched_to in (r"\1", r"\1\1"):
            words = [_RUN.sub(stretched_to, word) for word in letters]
            yield words
            yield _joined(words)


def _as_letters(word: str, one: str) -> str:
    """Digits read as letters, where there are letters beside them."""
    return word.replace("1", one).translate(_DIGITS) if any(item.isalpha() for item in word) else word


def _joined(words: list[str]) -> list[str]:
    """``n a k e d`` as one word."""
    found: list[str] = []
    for is_letter, group in groupby(words, key=lambda word: len(word) == 1):
        letters = list(group)
        found += ["".join(letters)] if is_letter and len(letters) > 2 else letters
    return found


def _read_list(file: Path) -> DenyList:
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST_LIST_BYTES + 1)
        if len(content) > LARGEST_LIST_BYTES:
            raise ConfigurationError([f"The deny list {file} is larger than {LARGEST_LIST_BYTES:,} bytes."])
        return DenyList.parse(content.decode("utf-8"))
    except OSError as error:
        raise ConfigurationError([f"The deny list {file} cannot be read ({error.strerror})."]) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError([f"The deny list {file} is not UTF-8."]) from error


def _find_check(name: str) -> Check:
    module_name, _, function_name = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            [f"The check {name!r} cannot be imported ({error}); name it MODULE:FUNCTION."]
        ) from error
    if not callable(found):
        raise ConfigurationError([f"The check {name!r} is no function."])
    checked: Check = found
    return checked


def _ask(check: Check, text: str, user: str) -> Refusal | None:
    """What the operator's check says. One that fails lets nothing pass: nobody would notice that it looks no more."""
    try:
        reason = check(text, user)
    except Exception as error:  # noqa: BLE001 (somebody else's code, whatever it raises)
        event("content_check_failed", logging.ERROR, error=type(error).__name__)
        return Refusal("the check failed", CHECK_FAILED)
    return Refusal("the check", str(reason)) if reason else None
