"""Writing a file of the repository, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from comfypod.errors import ConfigurationError


def replace_text(path: Path, text: str) -> None:
    """Write ``text`` in place of what is there; its folder is made if need be.

    Raises:
        ConfigurationError: it cannot be written.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise ConfigurationError([f"{path} cannot be written: {error}."]) from error
