"""Whether the list of packs, their files, the pinned packages and the shipped workflows fit each other."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from comfypod.comfyui.node_packs import NodePack, NodePacks
from comfypod.comfyui.pin import PIN_FILE, ComfyUIPin
from comfypod.errors import ConfigurationError, InvalidJobInput
from comfypod.image.layout import Layout
from comfypod.image.lock import outdated
from comfypod.image.node_classes import find_own_classes
from comfypod.image.sources import known_comfyui_files
from comfypod.image.vendoring import Origin, state_of
from comfypod.schema.template import load_template
from comfypod.schema.wire import as_object, listed

_GIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Findings:
    """Problems, and what could not be looked at; sentences."""

    problems: list[str]
    notes: list[str]


def check_packs(layout: Layout, classes: Collection[str] | None) -> Findings:
    """Look at everything, without fetching anything.

    Args:
        layout: of the repository.
        classes: what a running ComfyUI has; None: what the files of the pinned one say, where they are here.

    Raises:
        ConfigurationError: the list itself is not valid.
    """
    packs = NodePacks.load(layout.nodes_toml).pack
    problems = [problem for pack in packs if pack.vendored for problem in _vendored(pack, layout)]
    problems += [*_strangers(packs, layout), *_twice(packs)]
    try:
        problems += outdated(layout)
    except ConfigurationError as error:
        problems += error.problems
    known = classes if classes is not None else own_classes(layout)
    if known is None:
        note = (
            "The pinned ComfyUI's files are not here, so the workflows' classes were not looked at: name a running one "
        )
        return Findings(problems, [f"{note}with --comfyui, or fetch the files with comfypod nodes lock."])
    return Findings([*problems, *_missing_classes(packs, known, layout)], [])


def own_classes(layout: Layout) -> list[str] | None:
    """The classes of the pinned ComfyUI, by its files, if they are on this machine."""
    pin = ComfyUIPin.load(layout.comfyui / PIN_FILE)
    folder = known_comfyui_files(layout, pin)
    return find_own_classes(folder) if folder is not None else None


def _vendored(pack: NodePack, layout: Layout) -> Iterator[str]:
    folder, remedy = layout.vendored(pack), f"comfypod nodes vendor {pack.name}"
    if not folder.is_dir():
        yield f"{folder} is not there" + (f": {remedy}." if pack.repository else ".")
        return
    origin = Origin.read(folder)
    if pack.repository is not None:
        if origin is None:
            yield f"{folder} has no note of where it comes from: {remedy} --force."
        elif (origin.repository, origin.commit) != (pack.repository, pack.commit):
            yield f"{folder} is {origin.repository} at {str(origin.commit)[:10]}, not what nodes.toml says: {remedy}."
        elif state_of(folder) == "changed":
            yield f"{folder} was changed after it was put there: undo that, or {remedy} --force."
    if ignored := _ignored(folder):
        yield f"{folder}: git leaves out {listed(ignored, 5)}: git add --force them, or a clone lacks them."


def _ignored(folder: Path) -> list[str]:
    """Files that git does not take because a .gitignore says so, often the pack's own."""
    command = ["git", "-C", str(folder), "ls-files", "--others", "--ignored", "--exclude-standard", "-z", "--", "."]
    try:
        done = subprocess.run(  # noqa: S603 (the machine's own git; a name need not be UTF-8)
            command, check=True, capture_output=True, text=True, errors="replace", timeout=_GIT_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return []  # no git, or no repository around it
    return [name for name in done.stdout.split("\0") if name and "__pycache__" not in name]


def _strangers(packs: Collection[NodePack], layout: Layout) -> Iterator[str]:
    known = {pack.name for pack in packs if pack.vendored}
    folder = layout.nodes_toml.parent
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and path.name not in known and not path.name.startswith((".", "__")):
            yield f"{path} is no vendored pack of nodes.toml: the image will not have it."


def _twice(packs: Collection[NodePack]) -> Iterator[str]:
    """Of two packs with a class of the same name, ComfyUI keeps the one that it loads last."""
    for one, other in combinations(packs, 2):
        both = {name for name in one.classes if other.has(name)} | {name for name in other.classes if one.has(name)}
        if both:
            yield f"{one.name} and {other.name} both have {listed(sorted(both), 5)}: ComfyUI takes only one of them."


def _missing_classes(packs: Collection[NodePack], known: Collection[str], layout: Layout) -> Iterator[str]:
    for path in sorted(layout.workflows.glob("*.json")):
        try:
            workflow = load_template(layout.workflows, path.stem).workflow
        except (ConfigurationError, InvalidJobInput) as error:
            yield f"{path}: {error}"
            continue
        needed = {str(as_object(node).get("class_type")) for node in workflow.values()}
        missing = sorted(name for name in needed if name not in known and not any(pack.has(name) for pack in packs))
        if missing:
            yield f"{path} needs {listed(missing, 5)}, which neither ComfyUI nor a pack of nodes.toml has."
