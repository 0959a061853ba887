"""Which faults there are: the name of each kind, where it strikes, and its keys with their rules. Pure.

What each one does is written in ``docs/reference/faults.md``.
"""

from __future__ import annotations

import enum
import signal
from collections.abc import Mapping
from dataclasses import dataclass

from comfypod.emulator.fault_specs import (
    COUNTS,
    LARGEST_COUNT,
    LONGEST_SECONDS,
    SECONDS,
    TIMES,
    Key,
    number,
    one_of,
    some_text,
    whole,
)

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
class Kind:
    """One kind of fault; ``ends_process``: only for an engine in a process of its own."""

    place: Place
    keys: Mapping[str, Key]
    ends_process: bool = False


def _signal(text: str) -> int:
    names = {f"{int(number)}": number for number in FATAL_SIGNALS}
    if text not in names:
        valid = ", ".join(f"{int(number)} ({number.name})" for number in FATAL_SIGNALS)
        raise ValueError(f"must be the number of a signal that ends a process, not {text!r}. Valid: {valid}.")
    return int(names[text])


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"must begin with a slash, as /{text or 'prompt'} does, not be {text!r}.")
    return text


def _exception_type(text: str) -> str:
    if not all(part.isidentifier() for part in text.split(".")):
        raise ValueError(f"must be the name of an exception, such as torch.OutOfMemoryError, not {text!r}.")
    return text


_PATH = {"path": Key(_path, "/")}
_MESSAGE = {"message": Key(one_of(MESSAGE_TYPES), required=True)}
_NODE = {"node": Key(some_text)}
_NODE_OR_STEP = {**_NODE, "step": Key(whole(1, LARGEST_COUNT))}


def _boot(keys: Mapping[str, Key], *, ends_process: bool = False) -> Kind:
    return Kind(Place.BOOT, {**keys, **TIMES}, ends_process)


def _request(keys: Mapping[str, Key]) -> Kind:
    return Kind(Place.REQUEST, {**_PATH, **keys, **COUNTS})


def _message(keys: Mapping[str, Key]) -> Kind:
    return Kind(Place.MESSAGE, {**keys, **COUNTS})


def _node(keys: Mapping[str, Key], *, ends_process: bool = False) -> Kind:
    return Kind(Place.NODE, {**_NODE_OR_STEP, **keys, **COUNTS}, ends_process)


KINDS: Mapping[str, Kind] = {
    "slow_boot": _boot(SECONDS),
    "crash_at_boot": _boot(
        {"code": Key(whole(0, 255), 1), "message": Key(some_text, "emulated crash")}, ends_process=True
    ),
    "broken_nodes": _boot(
        {"pack": Key(some_text, required=True), "reason": Key(some_text, "No module named 'missing_requirement'")}
    ),
    "refuse": _request({}),
    "respond": _request({"status": Key(whole(200, 599), 500)}),
    "slow_response": _request(SECONDS),
    "lost_response": _request({}),
    "cut": _message(_MESSAGE),
    "drop": _message(_MESSAGE),
    "delay": _message({**_MESSAGE, **SECONDS}),
    "duplicate": _message(_MESSAGE),
    "reorder": _message({"message": Key(one_of(UNORDERED_MESSAGE_TYPES), required=True)}),
    "exit": _node({"code": Key(whole(0, 255), 139), "signal": Key(_signal, excludes="code")}, ends_process=True),
    "hang": _node({"seconds": Key(number(0, LONGEST_SECONDS), 3600.0)}),
    "hang_server": _node(SECONDS),
    "thread_death": _node({}),
    "raise": _node({"type": Key(_exception_type, "RuntimeError"), "message": Key(some_text, "emulated failure")}),
    "out_of_memory": _node({"form": Key(one_of(OUT_OF_MEMORY_FORMS), "torch")}),
    "cuda_error": _node({}),
    "full_disk": _node({}),
    "slow": _node(SECONDS),
    "unserialisable": Kind(Place.OUTPUT, {**_NODE, **COUNTS}),
    "evict_history": Kind(Place.END, COUNTS),
    "late_history": Kind(Place.END, {**SECONDS, **COUNTS}),
}
