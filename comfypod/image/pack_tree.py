"""The files of a node pack as they lie in a folder: whether they are harmless, what they are, what is odd about them.

Nothing of them is run.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from comfypod.errors import SourceFetchFailed

ORIGIN_FILE = ".origin.toml"
"""Our note of where a pack's files come from; no part of them."""

MOST_FILES = 20_000
MOST_LEVELS = 50
MOST_BYTES = 2 * 1024**3
NOT_THEIRS = frozenset({"__pycache__", ".git"})
"""What Python and git put among a pack's files."""
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"


def pack_files(folder: Path) -> list[Path]:
    """Every file and link of the pack, in an order that depends on their names alone."""
    found: list[Path] = []
    folders = [folder]  # a stack: no depth of folders breaks it
    while folders:
        for path in folders.pop().iterdir():
            if path.is_dir() and not path.is_symlink():
                folders += [path] if path.name not in NOT_THEIRS else []
            elif path != folder / ORIGIN_FILE:
                found.append(path)
    return sorted(found)


def check_tree(folder: Path, source: str, *, most_bytes: int = MOST_BYTES) -> None:
    """Refuse files that would reach out of the folder, or fill the disk.

    Raises:
        SourceFetchFailed: there is a link that leads out, or something that is no file; or they are too many or large.
    """
    total_bytes = 0
    files = pack_files(folder)
    if len(files) > MOST_FILES:
        raise SourceFetchFailed(source, f"it has more than {MOST_FILES:,} files")
    for path in files:
        name = str(path.relative_to(folder))
        if path.is_symlink():
            if _leads_out(path, folder):
                raise SourceFetchFailed(source, f"{name!r} is a link that leads out of it")
        elif not path.is_file():
            raise SourceFetchFailed(source, f"{name!r} is no file")
        else:
            total_bytes += path.stat().st_size
        if total_bytes > most_bytes:
            raise SourceFetchFailed(source, f"its files are larger than {most_bytes // 1024**2:,} MiB")
        if len(path.relative_to(folder).parts) > MOST_LEVELS:
            raise SourceFetchFailed(source, f"it has folders more than {MOST_LEVELS} deep")


def _leads_out(link: Path, folder: Path) -> bool:
    if link.readlink().is_absolute():
        return True
    try:
        link.stat()
    except FileNotFoundError:  # it leads nowhere, which may be within the pack
        pass
    except OSError:  # a circle of links
        return True
    return not link.resolve().is_relative_to(folder.resolve())


def tree_digest(folder: Path) -> str:
    """``sha256:…`` of names, contents, links and whether files may be executed: what git keeps of them."""
    whole = hashlib.sha256()
    for path in pack_files(folder):
        if path.is_symlink():
            kind, content = b"l", os.fsencode(path.readlink())
            digest = hashlib.sha256(content).hexdigest()
        else:
            kind = b"x" if path.stat().st_mode & stat.S_IXUSR else b"f"
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(kind + os.fsencode(path.relative_to(folder)) + b"\0" + digest.encode() + b"\n")
    return f"sha256:{whole.hexdigest()}"


def remarks(folder: Path) -> list[str]:
    """Sentences on what a person should know before this pack is used."""
    found: list[str] = []
    if not (folder / "__init__.py").is_file():
        found.append("It has no __init__.py, so that ComfyUI cannot load it.")
    if (folder / "install.py").is_file():
        found.append("It has an install.py, which is not run: what it does has to be done in the Dockerfile.")
    if (folder / ".gitmodules").is_file():
        found.append("It has submodules, which are not fetched: their folders are empty.")
    if pointers := [path for path in pack_files(folder) if _is_pointer(path)]:
        name = pointers[0].relative_to(folder)
        found.append(f"Files in Git LFS are not fetched ({len(pointers)}, such as {name}): only their pointers are.")
    return found


def _is_pointer(path: Path) -> bool:
    if path.is_symlink() or path.stat().st_size > 1024:
        return False
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER
