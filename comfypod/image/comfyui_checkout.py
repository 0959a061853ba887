"""The files of one commit of ComfyUI in a folder that also holds a developer's own: models, pictures, node packs.

What lies there by our doing is written down, file by file, so that another version replaces all of it and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from comfypod.comfyui.checkout import COMMIT_FILE, FILES_FILE, installed_commit
from comfypod.comfyui.pin import PIN_FILE
from comfypod.errors import ConfigurationError, SourceFetchFailed
from comfypod.image.git import fetch_tree

WORK_FOLDER = ".comfypod-new"

_SHARED = frozenset({"models", "input", "output", "temp", "user", "custom_nodes"})
"""Folders of ComfyUI's in which others' files lie; what is there under a name of ComfyUI's stays as it is."""
_OURS = frozenset({PIN_FILE, COMMIT_FILE, FILES_FILE, WORK_FOLDER, ".venv", "venv"})


def install_checkout(repository: str, commit: str, folder: Path) -> bool:
    """Put the files of a commit into ``folder``; False if they are there already.

    An installation that was interrupted is gone on with. Only files of an earlier one are replaced or removed.

    Raises:
        ConfigurationError: a ComfyUI lies there that was not installed by this.
        SourceFetchFailed: the repository cannot be reached, or the files cannot be written.
    """
    if installed_commit(folder) == commit:
        return False
    _refuse_foreign(folder)
    work = folder / WORK_FOLDER
    tree = work / commit
    try:
        if not tree.is_dir():  # else it was fetched before an interruption
            shutil.rmtree(work, ignore_errors=True)
            fetch_tree(repository, commit, tree)
        _replace_files(tree, folder)
        (folder / COMMIT_FILE).write_text(f"{commit}\n", encoding="ascii")
        shutil.rmtree(work)
    except OSError as error:
        problem = f"{error.filename or folder} cannot be written ({error.strerror or error})"
        raise SourceFetchFailed(repository, problem) from error
    return True


def _refuse_foreign(folder: Path) -> None:
    """Leave alone what somebody else has put there."""
    is_ours = (folder / FILES_FILE).is_file()
    if (folder / ".git").exists() or ((folder / "main.py").exists() and not is_ours):
        problem = f"{folder} holds a ComfyUI that was not installed by comfypod, and is left as it is."
        remedy = "Move it away, and start it by COMFYUI_COMMAND; or keep it there, and update it yourself."
        raise ConfigurationError([f"{problem} {remedy}"])


def _replace_files(tree: Path, folder: Path) -> None:
    """Copy the tree's files to their places, and remove those of an earlier installation that it does not have.

    What may be ours is written down before the first of them is there, so that an interruption loses no trace of it.
    """
    (folder / COMMIT_FILE).unlink(missing_ok=True)
    old = _read_list(folder)
    new = {name for name in _files_of(tree) if name in old or not _is_others(name, folder)}
    _write_list(folder, old | new)
    for name in sorted(old - new):
        _remove_file(name, folder)
    for name in sorted(new):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # what it may be linked to is not ours
        shutil.copy2(tree / name, target, follow_symlinks=False)
    _write_list(folder, new)


def _is_others(name: str, folder: Path) -> bool:
    """Whether a developer's own file has this name, in one of the folders where such files lie."""
    return name.partition("/")[0] in _SHARED and (folder / name).exists()


def _files_of(tree: Path) -> Iterator[str]:
    """The paths of all files below ``tree``, but for those that only a developer or we make."""
    for parent, folders, files in os.walk(tree):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in (*files, *links):
            path = Path(parent, name).relative_to(tree)
            if path.parts[0] not in _OURS:
                yield path.as_posix()


def _remove_file(name: str, folder: Path) -> None:
    """Remove a file, and the folders in which nothing is left but what Python has compiled."""
    path = folder / name
    path.unlink(missing_ok=True)
    for parent in path.parents:
        if parent == folder or parent.is_symlink() or not parent.is_dir():
            return  # a link is a developer's own
        if not {item.name for item in parent.iterdir()} <= {"__pycache__"}:
            return
        shutil.rmtree(parent)


def _read_list(folder: Path) -> set[str]:
    path = folder / FILES_FILE
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return set()
    except ValueError as error:
        raise ConfigurationError(
            [f"{path}: is no list of files ({error}). Move {folder} away, and install it anew."]
        ) from error
    return {name for name in names if ".." not in Path(name).parts and not Path(name).is_absolute()}


def _write_list(folder: Path, names: Iterable[str]) -> None:
    new = folder / f"{FILES_FILE}.new"
    new.write_text(json.dumps(sorted(names), indent=0) + "\n", encoding="utf-8")
    new.replace(folder / FILES_FILE)
