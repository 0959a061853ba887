"""The files of a pack in a folder of its own, with a note of where they come from; changes made there are not lost."""

from __future__ import annotations

import json
import shutil
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from comfypod.errors import ConfigurationError
from comfypod.image.pack_tree import NOT_THEIRS, ORIGIN_FILE, tree_digest

_HEAD = (
    "# Where these files come from, and what they were: written by comfypod, which asks before it overwrites changes.\n"
)

State = Literal["absent", "as noted", "changed", "foreign"]


@dataclass(frozen=True, slots=True)
class Origin:
    """What the note says: ``tree`` is the files' `tree_digest`; a pack of the repository itself has no address."""

    repository: str | None
    commit: str | None
    tree: str

    @classmethod
    def read(cls, folder: Path) -> Origin | None:
        """The note in a folder; None if there is none, or it is no such note."""
        try:
            fields = tomllib.loads((folder / ORIGIN_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        repository, commit, tree = (fields.get(name) for name in ("repository", "commit", "tree"))
        return cls(repository, commit, tree) if isinstance(tree, str) else None

    def write(self, folder: Path) -> None:
        """Put the note into the folder."""
        fields = {"repository": self.repository, "commit": self.commit, "tree": self.tree}
        lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items() if value]
        (folder / ORIGIN_FILE).write_text(_HEAD + "\n".join(lines) + "\n", encoding="utf-8")


def state_of(folder: Path) -> State:
    """Whether the files are those of the note; "foreign": nobody noted where they come from."""
    if not folder.exists():
        return "absent"
    origin = Origin.read(folder)
    if origin is None or (folder / ".git").exists():
        return "foreign"
    return "as noted" if tree_digest(folder) == origin.tree else "changed"


def copy_files(source: Path) -> Callable[[Path], None]:
    """For `place`: the pack's files in another folder, without a note that lies there."""

    def left_out(folder: str, names: list[str]) -> frozenset[str]:
        return NOT_THEIRS.union({ORIGIN_FILE} if Path(folder) == source else ()).intersection(names)

    def copy(folder: Path) -> None:
        shutil.copytree(source, folder, symlinks=True, ignore=left_out)

    return copy


def place(
    fill: Callable[[Path], None], folder: Path, repository: str | None, commit: str | None, *, force: bool
) -> None:
    """Replace what lies in ``folder`` by whole new files: others see the old, the new, or for a moment none.

    Args:
        fill: puts the files into the folder that it is given, which does not exist yet; what it leaves beside goes.
        folder: where the files shall lie.
        repository: for the note.
        commit: for the note.
        force: overwrite also what was changed, or is not ours; a checkout of git with its history is never.

    Raises:
        ConfigurationError: something is there that would be lost, or the files cannot be written.
    """
    state = state_of(folder)
    if (folder / ".git").exists():
        raise ConfigurationError([f"{folder} is a git checkout of its own: remove it, or leave it as it is."])
    if state in {"changed", "foreign"} and not force:
        found = "was changed after it was put there" if state == "changed" else "was not put there by comfypod"
        raise ConfigurationError([f"{folder} {found}: move it away, or overwrite it with --force."])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as work:
            new = Path(work, "new")
            fill(new)
            Origin(repository, commit, tree_digest(new)).write(new)
            if folder.exists():
                folder.rename(Path(work, "old"))
            new.rename(folder)
    except (OSError, shutil.Error) as error:
        raise ConfigurationError([f"{folder} cannot be written: {error}."]) from error
