"""``ComfyUI/comfyui.toml``: which ComfyUI is installed, and how it is started. A worker reads it before all else."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from comfypod.errors import ConfigurationError

PIN_FILE = "comfyui.toml"
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class ComfyUIPin:
    """A version of ComfyUI, by commit, and the flags it is started with."""

    repository: str
    version: str
    commit: str
    flags: tuple[str, ...]

    @classmethod
    def load(cls, path: Path) -> ComfyUIPin:
        """Read the file.

        Raises:
            ConfigurationError: it is missing, or is no such file.
        """
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
            repository, version = (_text(document, name) for name in ("repository", "version"))
            commit, flags = _commit(document), _texts(document, "flags")
        except (OSError, ValueError) as error:
            raise ConfigurationError([f"{path}: {error}."]) from error
        return cls(repository, version, commit, flags)

    def moved(self, path: Path, version: str, commit: str) -> ComfyUIPin:
        """Write another version into the file that this pin was read from; all else in it stays, comments too.

        Raises:
            ConfigurationError: the file cannot be changed so: it has been edited meanwhile, or cannot be written.
        """
        pin = replace(self, version=version, commit=commit)
        new = path.with_name(f".{path.name}.new")
        try:
            text = path.read_text(encoding="utf-8")
            text = _with_value(_with_value(text, "version", version), "commit", commit)
            new.write_text(text, encoding="utf-8")
            if self.load(new) != pin:
                problem = 'write version = "…" and commit = "…" on lines of their own'
                raise ConfigurationError([f"{path}: the pin in it cannot be moved: {problem}."])
            new.replace(path)
        except (OSError, ValueError) as error:
            raise ConfigurationError([f"{path}: {error}."]) from error
        finally:
            new.unlink(missing_ok=True)
        return pin


def _text(document: dict[str, object], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        msg = f"{name}: must be a text"
        raise ValueError(msg)
    return value


def _commit(document: dict[str, object]) -> str:
    commit = document.get("commit")
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        msg = "commit: must be a whole one, of 40 hexadecimal digits"
        raise ValueError(msg)
    return commit


def _texts(document: dict[str, object], name: str) -> tuple[str, ...]:
    values = document.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        msg = f"{name}: must be a list of texts"
        raise ValueError(msg)
    return tuple(values)


def _with_value(text: str, name: str, value: str) -> str:
    """The TOML with another text for a name; what stands after it on its line stays."""
    return re.sub(rf"""(?m)^({name}\s*=\s*)(["'])[^"'\n]*\2""", lambda found: f'{found[1]}"{value}"', text, count=1)
