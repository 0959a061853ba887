"""The data folder: private to its owner, used by one server at a time, and nothing in it ever half written."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from comfypod.errors import ConfigurationError, SavingFailed

WHERE = "The server's data folder"
"""What its visitors are told of a path in it."""
_OWNER_ONLY = 0o700
_REMOVED = ".removed-"


def default_data_folder() -> Path:
    """``~/.local/share/comfypod/web``, or below XDG_DATA_HOME (freedesktop.org, XDG Base Directory Specification)."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share") / "comfypod" / "web"


@contextmanager
def data_folder(path: Path) -> Iterator[Path]:
    """The folder, for as long as the body runs; another server that wants it meanwhile is refused.

    Raises:
        ConfigurationError: it cannot be made or written, or another server has it.
    """
    try:
        path.mkdir(mode=_OWNER_ONLY, parents=True, exist_ok=True)
        path.chmod(_OWNER_ONLY)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError([f"The data folder {path} cannot be used ({error.strerror}); see --data."]) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            problem = f"Another server keeps its runs in {path}; end it, or give this one another folder with --data."
            raise ConfigurationError([problem]) from error
        yield path
    finally:
        os.close(lock)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, in a folder that is made if need be: it is there whole, or as it was before.

    Raises:
        SavingFailed: it could not be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(mode=_OWNER_ONLY, parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise SavingFailed(WHERE, error.strerror or str(error)) from error


def remove_folder(folder: Path) -> None:
    """Remove a folder: at once for whoever looks for it, and what is left of it when it can be.

    Raises:
        SavingFailed: the file system does not let it go.
    """
    removed = folder.with_name(_REMOVED + folder.name)
    try:
        folder.replace(removed)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SavingFailed(WHERE, error.strerror or str(error)) from error
    shutil.rmtree(removed, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """What a removal left that was cut short."""
    for left in folder.glob(f"{_REMOVED}*"):
        shutil.rmtree(left, ignore_errors=True)


def folder_bytes(folder: Path) -> int:
    """How large the files in a folder are, all together; those that vanish meanwhile count nothing."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(path, name).stat().st_size
    return total
