"""What may be written to a terminal or a pipe, and writing it. Light: every command imports it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from comfypod.errors import SavingFailed
from comfypod.schema.wire import json_safe

_STDOUT, _REMEDY = "standard output", "what was to be written there is lost"


def printable(text: str) -> str:
    """``text`` without control characters: what comes from elsewhere must not steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def for_stdout(text: str) -> str:
    """``text`` as stdout may have it: unchanged for a pipe or a file, harmless (but with its lines) for a terminal."""
    if sys.stdout is None or not sys.stdout.isatty():
        return text
    return "\n".join(printable(line) for line in text.splitlines())


def write_line(text: str) -> None:
    """Write a line of data to stdout, at once.

    Raises:
        SavingFailed: nobody reads it any more, or the disk that it goes to is full.
    """
    with writing_stdout():
        encoding = sys.stdout.encoding or "utf-8"  # a worker's text may have what it lacks, or halves of characters
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()


@contextmanager
def writing_stdout() -> Iterator[None]:
    """The body writes to stdout.

    Raises:
        SavingFailed: as `write_line`; also where the program was started without one.
    """
    if sys.stdout is None:
        raise SavingFailed(_STDOUT, "it is closed", _REMEDY)
    try:
        yield
    except OSError as error:
        _forget_stdout()
        raise SavingFailed(_STDOUT, error.strerror or str(error), _REMEDY) from error


def write_json(document: Mapping[str, Any]) -> None:
    """Write one JSON line to stdout: ASCII, so that nothing in it can steer a terminal.

    Raises:
        SavingFailed: as `write_line`.
    """
    write_line(json.dumps(json_safe(document), allow_nan=False))


def write_error(text: str) -> None:
    """Write a line to stderr, harmless; if it is closed, or its disk full, there is nobody left to tell."""
    if sys.stderr is not None:  # else print would take stdout
        with suppress(OSError):
            print(printable(text), file=sys.stderr, flush=True)


def _forget_stdout() -> None:
    """Let what is still buffered go nowhere: Python writes it once more when it ends, and would complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
