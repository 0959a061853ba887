"""Files that somebody wrote by hand: small, and text."""

from __future__ import annotations

from pathlib import Path

from comfypod.errors import ConfigurationError

MOST_BYTES = 4 * 1024**2


def read_small_file(path: Path) -> str:
    """The text of a file.

    Raises:
        ConfigurationError: it is not there, not readable, no text, or larger than any that was written by hand.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError([f"{path}: {error.strerror or error}."]) from error
    if len(content) > MOST_BYTES:
        raise ConfigurationError([f"{path} is larger than {MOST_BYTES} bytes."])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError([f"{path} is no UTF-8 text."]) from error
