r"""How faults are written and counted, whatever they do: the grammar of a SPEC, its keys, a plan of what strikes. Pure.

A SPEC is ``KIND[:key=value[,key=value...]]``, such as ``exit:node=ImageInvert,code=139``; inside a value ``\,`` is a
comma and ``\\`` a backslash. Which kinds there are is the affair of whoever is to fail: the built-in engine
(`comfypod.emulator.fault_kinds`) and the local RunPod (`comfypod.emulator.platform.faults`).
"""

from __future__ import annotations

import difflib
import math
import random
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

Value = str | int | float | None

LONGEST_SECONDS = 86_400.0
LARGEST_COUNT = 1_000_000_000

# A comma that no odd number of backslashes stands before.
_COMMA = re.compile(r"(?<!\\)(?:\\\\)*,")
_ESCAPED = re.compile(r"\\([\\,])")


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a kind. ``parse`` reads its value, or raises a ValueError such as "must be a number, not 'x'."."""

    parse: Callable[[str], Value]
    default: Value = None
    required: bool = False
    excludes: str = ""
    """Another key that must not be given with it."""


class Keyed(Protocol):
    """What has keys: one kind of fault."""

    @property
    def keys(self) -> Mapping[str, Key]:
        """The rule of each key by its name."""


class Countable(Protocol):
    """What can be planned: one fault, whose ``str`` is its SPEC."""

    @property
    def times(self) -> int:
        """How often it strikes; 0: always."""

    @property
    def after(self) -> int:
        """How many occasions pass untouched before it strikes."""


FaultT = TypeVar("FaultT", bound=Countable)


# Reading a SPEC.


def read_spec(spec: str, kinds: Mapping[str, Keyed]) -> tuple[str, dict[str, Any]]:
    """Return the kind that a SPEC names and the values of its keys; those not given have their default, if any.

    Raises:
        ValueError: a kind, a key or a value is unknown; the sentence names what is valid and looks like it.
    """
    name, colon, rest = spec.strip().partition(":")
    kind = kinds.get(name)
    if kind is None:
        raise ValueError(f"There is no fault {name!r}. {nearest(name, kinds)}")
    values: dict[str, Any] = {key: rule.default for key, rule in kind.keys.items() if rule.default is not None}
    values |= _given(name, kind, rest) if colon else {}
    missing = [key for key, rule in kind.keys.items() if rule.required and key not in values]
    if missing:
        raise ValueError(f"Fault {name} needs {' and '.join(f'{key}=' for key in missing)}.")
    return name, values


def _given(name: str, kind: Keyed, text: str) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for piece in _pieces(text):
        key, equals, value = piece.partition("=")
        rule = kind.keys.get(key)
        if not equals:
            raise ValueError(f"Fault {name}: {piece!r} is not key=value (inside a value, write a comma as \\,).")
        if rule is None:
            raise ValueError(f"Fault {name} has no key {key!r}. {nearest(key, kind.keys)}")
        if key in values:
            raise ValueError(f"Fault {name}: {key} is given twice.")
        try:
            values[key] = rule.parse(_ESCAPED.sub(r"\1", value))
        except ValueError as error:
            raise ValueError(f"Fault {name}: {key} {error}") from error
    for key in values:
        if (other := kind.keys[key].excludes) in values:
            raise ValueError(f"Fault {name}: give {other} or {key}, not both.")
    return values


def _pieces(text: str) -> Iterator[str]:
    start = 0
    for match in _COMMA.finditer(text):
        yield text[start : match.end() - 1]
        start = match.end()
    yield text[start:]


def nearest(word: str, valid: Iterable[str]) -> str:
    """Return ``Did you mean …?`` if something valid looks like the word, and in any case all that is valid."""
    names = sorted(valid)
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    guess = f"Did you mean {' or '.join(close)}? " if close else ""
    return f"{guess}Valid: {', '.join(names)}."


# Rules for values.


def whole(least: int, most: int) -> Callable[[str], Value]:
    """Return a rule for whole numbers."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}, not {text!r}.")
        return int(text)

    return parse


def number(least: float, most: float) -> Callable[[str], Value]:
    """Return a rule for numbers."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise ValueError(f"must be a number from {least:g} to {most:g}, not {text!r}.")
        return value

    return parse


def one_of(valid: Iterable[str]) -> Callable[[str], Value]:
    """Return a rule for words of which only some are valid."""
    choices = frozenset(valid)

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"cannot be {text!r}. {nearest(text, choices)}")
        return text

    return parse


def yes_or_no(text: str) -> bool:
    """Read ``true`` or ``false``.

    Raises:
        ValueError: it is neither.
    """
    if text not in {"true", "false"}:
        raise ValueError(f"must be true or false, not {text!r}.")
    return text == "true"


def some_text(text: str) -> str:
    """Read any text but an empty one.

    Raises:
        ValueError: it is empty.
    """
    if not text:
        raise ValueError("must not be empty.")
    return text


TIMES: Mapping[str, Key] = {"times": Key(whole(0, LARGEST_COUNT), 1)}
COUNTS: Mapping[str, Key] = {**TIMES, "after": Key(whole(0, LARGEST_COUNT), 0)}
SECONDS: Mapping[str, Key] = {"seconds": Key(number(0, LONGEST_SECONDS), required=True)}


# Planning and counting.


@dataclass(slots=True)
class Planned(Generic[FaultT]):
    """A fault with its counts, and with draws of its own, which are the same in every run."""

    fault: FaultT
    draws: random.Random
    occasions: int = 0
    struck: int = 0

    @property
    def is_spent(self) -> bool:
        """Whether it has struck as often as it was to."""
        return 0 < self.fault.times <= self.struck

    def meet(self, has_luck: Callable[[Planned[FaultT]], bool]) -> bool:
        """Count an occasion; True if the fault strikes."""
        self.occasions += 1
        strikes = self.occasions > self.fault.after and not self.is_spent and has_luck(self)
        self.struck += strikes
        return strikes

    def to_json(self) -> dict[str, Any]:
        """Return ``{fault, occasions, struck, spent}``."""
        return {
            "fault": str(self.fault),
            "occasions": self.occasions,
            "struck": self.struck,
            "spent": self.is_spent,
        }


class Plan(Generic[FaultT]):
    """Faults in the order in which they were planned, counted; every method may be called from any thread."""

    def __init__(self, check: Callable[[FaultT], None] = lambda _: None) -> None:
        """Plan nothing yet; ``check`` raises a ValueError for what cannot be planned here or now."""
        self._check = check
        self._planned: list[Planned[FaultT]] = []
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[FaultT]:
        with self._lock:
            return iter([planned.fault for planned in self._planned])

    def add(self, faults: Iterable[FaultT]) -> None:
        """Plan more faults; all or none of them.

        Raises:
            ValueError: one cannot be planned.
        """
        added = list(faults)
        for fault in added:
            self._check(fault)
        with self._lock:
            # The position makes two equal faults draw differently.
            first = len(self._planned)
            draws = [random.Random(f"{first + n} {fault}") for n, fault in enumerate(added)]  # noqa: S311
            self._planned = [*self._planned, *(Planned(*pair) for pair in zip(added, draws, strict=True))]

    def clear(self) -> None:
        """Forget all faults and counts."""
        with self._lock:
            self._planned = []

    def to_json(self) -> list[dict[str, Any]]:
        """Return ``{fault, occasions, struck, spent}`` for each planned fault; spent ones stay in the list."""
        with self._lock:
            return [planned.to_json() for planned in self._planned]

    def strike(
        self,
        concerns: Callable[[FaultT], bool],
        has_luck: Callable[[Planned[FaultT]], bool] = lambda _: True,
    ) -> list[Planned[FaultT]]:
        """Count one occasion for each fault that it ``concerns``; return those that strike, in order."""
        if not self._planned:
            return []
        with self._lock:
            return [planned for planned in self._planned if concerns(planned.fault) and planned.meet(has_luck)]
