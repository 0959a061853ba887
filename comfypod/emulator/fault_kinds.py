"""Which faults there are: the name of each kind, where it strikes, and its keys with their rules. Pure.

What each one does is written in ``docs/reference/faults.md``.
"""

from __future__ import annotations

import difflib
import enum
import math
import re
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

Value = str | int | float | None

LONGEST_SECONDS = 86_400.0
LARGEST_COUNT = 1_000_000_000

# The types of ComfyUI's websocket messages (server.py and execution.py of 0.8.0), the word for every frame that is not
# text, and the word for all of them.
MESSAGE_TYPES = (
    "any",
    "binary",
    "executed",
    "executing",
    "execution_cached",
    "execution_error",
    "execution_interrupted",
    "execution_start",
    "execution_success",
    "feature_flags",
    "progress",
    "progress_state",
    "status",
)
UNORDERED_MESSAGE_TYPES = ("binary", "progress", "progress_state", "status")
OUT_OF_MEMORY_FORMS = ("torch", "cuda")
# Signals that end a process which does nothing about them, in which a native crash or the kernel's memory killer shows.
FATAL_SIGNALS = tuple(
    sorted({signal.SIGILL, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGKILL, signal.SIGSEGV})
)


class Place(enum.Enum):
    """Where a fault strikes."""

    BOOT = "before the port opens"
    REQUEST = "an HTTP request, or the handshake of a websocket"
    MESSAGE = "a websocket message that has a receiver"
    NODE = "the start of a node, or one of its progress reports"
    OUTPUT = "the output that a node shows"
    END = "the end of a prompt"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a kind. ``parse`` reads its value, or raises a ValueError such as "must be a number, not 'x'."."""

    parse: Callable[[str], Value]
    default: Value = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault; ``ends_process``: only for an engine in a process of its own."""

    place: Place
    keys: Mapping[str, Key]
    ends_process: bool = False


def nearest(word: str, valid: Iterable[str]) -> str:
    """Return ``Did you mean …?`` if something valid looks like the word, and in any case all that is valid."""
    names = sorted(valid)
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    guess = f"Did you mean {' or '.join(close)}? " if close else ""
    return f"{guess}Valid: {', '.join(names)}."


def _whole(least: int, most: int) -> Callable[[str], Value]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}, not {text!r}.")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_SECONDS:
        raise ValueError(f"must be a number from 0 to {LONGEST_SECONDS:g}, not {text!r}.")
    return seconds


def _one_of(valid: Iterable[str]) -> Callable[[str], Value]:
    choices = frozenset(valid)

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"cannot be {text!r}. {nearest(text, choices)}")
        return text

    return parse


def _signal(text: str) -> int:
    names = {f"{int(number)}": number for number in FATAL_SIGNALS}
    if text not in names:
        valid = ", ".join(f"{int(number)} ({number.name})" for number in FATAL_SIGNALS)
        raise ValueError(f"must be the number of a signal that ends a process, not {text!r}. Valid: {valid}.")
    return int(names[text])


def _text(text: str) -> str:
    if not text:
        raise ValueError("must not be empty.")
    return text


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"must begin with a slash, as /{text or 'prompt'} does, not be {text!r}.")
    return text


def _exception_type(text: str) -> str:
    if not all(part.isidentifier() for part in text.split(".")):
        raise ValueError(f"must be the name of an exception, such as torch.OutOfMemoryError, not {text!r}.")
    return text


_TIMES = {"times": Key(_whole(0, LARGEST_COUNT), 1)}
_COUNTS = {**_TIMES, "after": Key(_whole(0, LARGEST_COUNT), 0)}
_SECONDS = {"seconds": Key(_seconds, required=True)}
_PATH = {"path": Key(_path, "/")}
_MESSAGE = {"message": Key(_one_of(MESSAGE_TYPES), required=True)}
_NODE = {"node": Key(_text)}
_NODE_OR_STEP = {**_NODE, "step": Key(_whole(1, LARGEST_COUNT))}


def _boot(keys: Mapping[str, Key], *, ends_process: bool = False) -> Kind:
    return Kind(Place.BOOT, {**keys, **_TIMES}, ends_process)


def _request(keys: Mapping[str, Key]) -> Kind:
    return Kind(Place.REQUEST, {**_PATH, **keys, **_COUNTS})


def _message(keys: Mapping[str, Key]) -> Kind:
    return Kind(Place.MESSAGE, {**keys, **_COUNTS})


def _node(keys: Mapping[str, Key], *, ends_process: bool = False) -> Kind:
    return Kind(Place.NODE, {**_NODE_OR_STEP, **keys, **_COUNTS}, ends_process)


KINDS: Mapping[str, Kind] = {
    "slow_boot": _boot(_SECONDS),
    "crash_at_boot": _boot(
        {"code": Key(_whole(0, 255), 1), "message": Key(_text, "emulated crash")}, ends_process=True
    ),
    "broken_nodes": _boot(
        {"pack": Key(_text, required=True), "reason": Key(_text, "No module named 'missing_requirement'")}
    ),
    "refuse": _request({}),
    "respond": _request({"status": Key(_whole(200, 599), 500)}),
    "slow_response": _request(_SECONDS),
    "lost_response": _request({}),
    "cut": _message(_MESSAGE),
    "drop": _message(_MESSAGE),
    "delay": _message({**_MESSAGE, **_SECONDS}),
    "duplicate": _message(_MESSAGE),
    "reorder": _message({"message": Key(_one_of(UNORDERED_MESSAGE_TYPES), required=True)}),
    "exit": _node({"code": Key(_whole(0, 255), 139), "signal": Key(_signal)}, ends_process=True),
    "hang": _node({"seconds": Key(_seconds, 3600.0)}),
    "hang_server": _node(_SECONDS),
    "thread_death": _node({}),
    "raise": _node({"type": Key(_exception_type, "RuntimeError"), "message": Key(_text, "emulated failure")}),
    "out_of_memory": _node({"form": Key(_one_of(OUT_OF_MEMORY_FORMS), "torch")}),
    "cuda_error": _node({}),
    "full_disk": _node({}),
    "slow": _node(_SECONDS),
    "unserialisable": Kind(Place.OUTPUT, {**_NODE, **_COUNTS}),
    "evict_history": Kind(Place.END, _COUNTS),
    "late_history": Kind(Place.END, {**_SECONDS, **_COUNTS}),
}
