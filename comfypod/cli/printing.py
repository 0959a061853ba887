"""What may be written to a terminal or a pipe, and writing it. Light: every command imports it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from comfypod.errors import SavingFailed
from comfypod.schema.wire import json_safe


def printable(text: str) -> str:
    """``text`` without control characters: what comes from elsewhere must not steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def for_stdout(text: str) -> str:
    """``text`` as stdout may have it: unchanged for a pipe or a file, harmless (but with its lines) for a terminal."""
    if not sys.stdout.isatty():
        return text
    return "\n".join(printable(line) for line in text.splitlines())


def write_line(text: str) -> None:
    """Write a line of data to stdout, at once.

    Raises:
        SavingFailed: nobody reads it any more, or the disk that it goes to is full.
    """
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError as error:
        _forget_stdout()
        raise SavingFailed("standard output", error.strerror or str(error)) from error


def write_json(document: Mapping[str, Any]) -> None:
    """Write one JSON line to stdout: ASCII, so that nothing in it can steer a terminal.

    Raises:
        SavingFailed: as `write_line`.
    """
    write_line(json.dumps(json_safe(document), allow_nan=False))


def write_error(text: str) -> None:
    """Write a line to stderr, harmless; if it is closed there is nobody left to tell."""
    print(printable(text), file=sys.stderr, flush=True)


def _forget_stdout() -> None:
    """Let what is still buffered go nowhere: Python writes it once more when it ends, and would complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
