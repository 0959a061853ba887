"""Packs come into the list and into the repository: looked at, pinned to a commit, and vendored if that is wished."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from comfypod.comfyui.node_packs import NodePack, NodePacks
from comfypod.errors import ConfigurationError
from comfypod.image.git import find_commit
from comfypod.image.layout import Layout
from comfypod.image.node_classes import find_classes
from comfypod.image.nodes_file import append_pack, change_pack
from comfypod.image.pack_tree import check_tree, remarks
from comfypod.image.requirements import pack_requirements
from comfypod.image.vendoring import Origin, copy_files, place, state_of

MOST_VENDORED_BYTES = 200 * 1024**2
_NO_COMMIT = "0" * 40


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person said besides the address; empty or None: as the repository suggests."""

    reference: str = "HEAD"
    name: str | None = None
    classes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Added:
    """The entry as it stands in the list now; ``former_commit`` if it was there before; what should be known of it."""

    pack: NodePack
    former_commit: str | None
    remarks: Sequence[str]


def add_pack(layout: Layout, repository: str, wishes: Wishes) -> Added:
    """Put a pack into the list at the commit that is wished; one of the same address that is there moves to it.

    Raises:
        SourceFetchFailed: the repository cannot be reached, has no such commit, or its files are not harmless.
        ConfigurationError: the name is taken, or the list cannot be changed.
    """
    if Path(repository).is_dir():
        repository = str(Path(repository).resolve())
    name = wishes.name or repository.rstrip("/").rpartition("/")[2].removesuffix(".git")
    former = _former(layout, name, repository)
    _entry({"name": name, "repository": repository, "commit": _NO_COMMIT})  # nothing is asked at what is no address
    commit = find_commit(repository, wishes.reference)
    folder = layout.fetch(repository, commit)
    check_tree(folder, repository)
    if former is None:
        fields = {"name": name, "repository": repository, "commit": commit}
        pack = _entry({**fields, "classes": list(wishes.classes) or find_classes(folder)})
        append_pack(layout.nodes_toml, pack)
    else:
        changes = {"commit": commit, "classes": list(wishes.classes) or _merged(former, find_classes(folder))}
        pack = former.model_copy(update=changes)
        change_pack(layout.nodes_toml, name, {key: value for key, value in changes.items() if value})
    return Added(pack, former.commit if former else None, [*remarks(folder), *_troubles(pack, folder)])


def vendor_pack(layout: Layout, name: str, *, force: bool) -> Path:
    """Put the pack's files into this repository, without git's, and note that in the list and beside the files.

    Returns:
        The folder with the files.

    Raises:
        ConfigurationError: there is no such pack, it is of this repository, or changes made here would be lost.
        SourceFetchFailed: its files cannot be had, are not harmless, or too large for a repository.
    """
    pack = NodePacks.load(layout.nodes_toml).named(name)
    if pack.repository is None or pack.commit is None:
        raise ConfigurationError([f"{pack.name} is of this repository: there is nothing to bring."])
    folder, source = layout.vendored(pack), layout.fetch(pack.repository, pack.commit)
    check_tree(source, pack.repository, most_bytes=MOST_VENDORED_BYTES)
    origin = Origin.read(folder)
    if state_of(folder) != "as noted" or origin is None or origin.commit != pack.commit:
        place(copy_files(source), folder, pack.repository, pack.commit, force=force)
    if not pack.vendored:
        change_pack(layout.nodes_toml, pack.name, {"vendored": True})
    return folder


def _former(layout: Layout, name: str, repository: str) -> NodePack | None:
    for pack in NodePacks.load(layout.nodes_toml).pack:
        if pack.name.casefold() == name.casefold():
            if pack.repository != repository:
                raise ConfigurationError([f"There is a pack {pack.name!r} of {pack.source}: choose another --name."])
            return pack
    return None


def _merged(former: NodePack, found: Sequence[str]) -> list[str]:
    """Patterns that a person wrote stay, and stand for the classes that they fit."""
    patterns = [item for item in former.classes if any(character in item for character in "*?[")]
    return patterns + [name for name in found if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


def _entry(fields: dict[str, object]) -> NodePack:
    try:
        return NodePack.model_validate(fields)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}." for item in error.errors()]
        raise ConfigurationError(problems) from error


def _troubles(pack: NodePack, folder: Path) -> list[str]:
    found = (
        [] if pack.classes else ["No classes were found in its files: name them with --class, so that they are known."]
    )
    try:
        pack_requirements(pack, folder)
    except ConfigurationError as error:
        found += error.problems
    return found
