"""Where model files are on this machine, told to ComfyUI before it starts: in its own folders and on volumes.

Runs before anything else of a worker: the standard library only, and of volumes nothing is read but names. Code is
never taken from there: a volume's ``custom_nodes`` is not looked at.
"""

from __future__ import annotations

import ast
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from comfypod.errors import ConfigurationError

VOLUMES = (Path("/runpod-volume"), Path("/workspace"))
"""Where RunPod mounts a network volume: on workers, and on pods (docs.runpod.io, storage/network-volumes)."""
VOLUME_SECONDS = 5.0
COUNT_SECONDS = 2.0
NOT_THERE = -1
COUNT_LIMIT = 1000
ENTRIES_LIMIT = 10_000

_LEGACY = {"unet": "diffusion_models", "clip": "text_encoders"}
"""ComfyUI 0.33.0, folder_paths.py: map_legacy."""
_NO_KINDS = frozenset({"custom_nodes", "base_path", "is_default", "lost+found"})
"""Code; and what ComfyUI's own file of paths means otherwise (ComfyUI 0.33.0, utils/extra_config.py)."""
_PARTS = {"ultralytics": ("bbox", "segm")}
"""Subfolders that custom nodes know as kinds of their own: ``ultralytics/bbox`` is ``ultralytics_bbox``."""

_T = TypeVar("_T")
_Look = list[tuple[str, Path, object]] | None
"""Kinds, folders, and what tells whether two paths lead to the same one; None if there was nothing to look at."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder with model files of one kind.

    ``is_own``: ComfyUI looks there by itself. ``is_known``: ComfyUI itself has the kind; else a custom node may.
    """

    kind: str
    path: Path
    is_own: bool = False
    is_known: bool = True


@dataclass(frozen=True, slots=True)
class ModelPaths:
    """All folders in which ComfyUI is to look, in the order of its search; ``notes`` are sentences about the rest."""

    folders: tuple[ModelFolder, ...]
    notes: tuple[str, ...] = ()

    @property
    def by_kind(self) -> Mapping[str, Sequence[Path]]:
        """The folders of each kind, ComfyUI's own among them; the first one that has a file counts."""
        found: dict[str, list[Path]] = {}
        for folder in self.folders:
            found.setdefault(folder.kind, []).append(folder.path)
        return found

    def write(self, path: Path) -> None:
        """Write the file for ``--extra-model-paths-config``: as JSON, which is YAML as well.

        Several folders of a kind stand on lines of one text (ComfyUI 0.33.0, utils/extra_config.py).
        """
        added: dict[str, list[str]] = {}
        for folder in self.folders:
            if not folder.is_own:
                added.setdefault(folder.kind, []).append(str(folder.path))
        document = {"comfypod": {kind: "\n".join(paths) for kind, paths in added.items()}}
        # Not in ASCII: YAML reads what JSON writes for characters beyond 16 bits as something else.
        path.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

    def table(self) -> list[str]:
        """Lines to print: kind, number of files, folder. ComfyUI's own folders only where they have files.

        Those of MODELS_DIRECTORY that nothing was fetched into yet are left out.
        """
        counts: dict[Path, int] = {}
        with suppress(OSError):  # what could not be counted in time, or not at all, is shown so
            within_seconds(COUNT_SECONDS, lambda: counts.update(map(_counted, self.folders)))
        shown = [folder for folder in self.folders if _is_shown(folder, counts.get(folder.path))]
        shown.sort(key=lambda folder: folder.kind)
        width = max((len(folder.kind) for folder in shown), default=0)
        return [
            *(f"{item.kind:{width}}  {_shown_count(counts.get(item.path)):>5}  {_shown_path(item)}" for item in shown),
            *self.notes,
        ]


def find_model_paths(
    checkout: Path,
    volumes: Iterable[Path] = VOLUMES,
    extra: Iterable[tuple[str, Path]] = (),
    directories: Iterable[Path] = (),
    volume_seconds: float = VOLUME_SECONDS,
) -> ModelPaths:
    """Find the folders of models: the checkout's own, those on volumes, and further ones.

    Args:
        checkout: a ComfyUI that is started with its own ``models/``.
        volumes: looked at in ``models/``, ``ComfyUI/models/`` and themselves. One that does not answer is left out.
        extra: pairs of kind and folder, searched last.
        directories: laid out as ``models/`` is, with a folder per kind that may be made later (MODELS_DIRECTORY). One
            that does not answer is left out.
        volume_seconds: how long each volume and directory may take to answer.

    Raises:
        ConfigurationError: the checkout is none, or its list of folders cannot be read.
    """
    kinds = folder_kinds(checkout)
    found = _Found(kinds, volume_seconds)
    for kind, names in kinds.items():
        for name in names:
            found.add(kind, checkout / "models" / name, is_own=True)
    for directory in directories:
        found.add_directory(directory)
    for volume in volumes:
        found.add_volume(volume)
    for kind, folder in extra:
        found.add(kind, folder)
    return ModelPaths(tuple(found.folders), tuple(found.notes))


class _Found:
    """What has been found so far: each folder once per kind, by whatever path."""

    def __init__(self, kinds: Mapping[str, Sequence[str]], volume_seconds: float) -> None:
        self.folders: list[ModelFolder] = []
        self.notes: list[str] = []
        self._kinds = kinds
        self._volume_seconds = volume_seconds
        self._kind_of = {name: kind for kind, names in kinds.items() for name in (kind, *names)}
        self._seen: set[tuple[str, object]] = set()
        self._volumes: set[object] = set()

    def add(self, kind: str, path: Path, *, is_own: bool = False, identity: object = None) -> None:
        """Add a folder; ``identity`` tells whether two paths lead to the same one."""
        kind, path = _LEGACY.get(kind, kind), path.absolute()
        if not str(path).isprintable():  # a line break would make two folders of it, other characters are not YAML
            self.notes.append(f"{str(path)!r} is left out: ComfyUI cannot be told of such a name.")
            return
        key = (kind, identity or _identity(path))
        if key not in self._seen:
            self._seen.add(key)
            self.folders.append(ModelFolder(kind, path, is_own, kind in self._kinds))

    def add_directory(self, directory: Path) -> None:
        """Add a folder for each kind, there or not, if the directory, which may be on a volume, answers."""
        paths = {kind: directory.absolute() / kind for kind in self._kinds}
        self._add_what_answers(directory, lambda: [(kind, path, _identity(path)) for kind, path in paths.items()])

    def add_volume(self, volume: Path) -> None:
        """Add the folders of models that are on a volume, if there is one and it answers."""
        found = self._add_what_answers(volume, lambda: self._look(volume))
        if found == []:
            self.notes.append(f"{volume} has no folder of models (models/checkpoints, ComfyUI/models/loras, vae …).")

    def _add_what_answers(self, place: Path, look: Callable[[], _Look]) -> _Look:
        try:
            found = within_seconds(self._volume_seconds, look)
        except OSError as error:
            self.notes.append(f"{place}: {error.strerror or error}; its models are left out.")
            return None
        for kind, path, identity in found or ():
            self.add(kind, path, identity=identity)
        return found

    def _look(self, volume: Path) -> _Look:
        """What there is, each with its identity; None if there is no volume, or it is one that was looked at."""
        identity = _identity(volume)
        if not volume.is_dir() or identity in self._volumes:
            return None
        self._volumes.add(identity)
        found = [
            (kind, path)
            for base in (volume / "models", volume / "ComfyUI" / "models")
            for kind, path in self._below(base, with_unknown=True)
        ]
        found += self._below(volume, with_unknown=False)
        return [(kind, path, _identity(path)) for kind, path in found]

    def _below(self, base: Path, *, with_unknown: bool) -> Iterator[tuple[str, Path]]:
        """The folders in ``base``, with the kind that each has: first those that ComfyUI knows, in its own order."""
        there = _subfolders(base)
        yield from ((kind, base / name) for name, kind in self._kind_of.items() if name in there)
        for name in sorted(there - self._kind_of.keys() - _NO_KINDS) if with_unknown else ():
            yield name, base / name
            parts = _subfolders(base / name) if name in _PARTS else set()
            yield from ((f"{name}_{part}", base / name / part) for part in _PARTS.get(name, ()) if part in parts)


def _subfolders(base: Path) -> set[str]:
    """The names of the folders in one that need not be there; hidden ones are none."""
    try:
        with os.scandir(base) as entries:
            return {item.name for item in islice(entries, ENTRIES_LIMIT) if item.name[0] != "." and item.is_dir()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _identity(path: Path) -> object:
    """What is the same for all paths that lead to the same folder."""
    try:
        status = path.stat()
    except OSError:  # it is not there, or not yet
        return path
    return status.st_dev, status.st_ino


def _is_shown(folder: ModelFolder, count: int | None) -> bool:
    return (count or 0) > 0 if folder.is_own else count != NOT_THERE


def _counted(folder: ModelFolder) -> tuple[Path, int]:
    return folder.path, _count(folder.path) if folder.path.is_dir() else NOT_THERE


def _count(folder: Path) -> int:
    """The files that loaders may show, up to `COUNT_LIMIT`; links are followed, as ComfyUI does."""
    files, seen = 0, 0
    for _, folders, names in os.walk(folder, followlinks=True):
        # What ComfyUI's repository has in its empty folders is called put_checkpoints_here and the like.
        files += sum(not name.startswith((".", "put_")) for name in names)
        seen += len(folders) + len(names)
        if seen >= COUNT_LIMIT:
            break
    return min(files, COUNT_LIMIT)


def _shown_count(count: int | None) -> str:
    if count is None:  # there was no time to look
        return "?"
    return f"{count}+" if count == COUNT_LIMIT else str(count)


def _shown_path(folder: ModelFolder) -> str:
    return str(folder.path) if folder.is_known else f"{folder.path} (no kind of ComfyUI's own: for custom nodes)"


def folder_kinds(checkout: Path) -> dict[str, tuple[str, ...]]:
    """ComfyUI's kinds of models, each with its folders below ``models/``, as the checkout's ``folder_paths.py`` says.

    The file is read and not run: that would take ComfyUI's command line and its libraries.

    Raises:
        ConfigurationError: there is no such file, or it names no kinds in a way that is known here.
    """
    path = checkout / "folder_paths.py"
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        remedy = "The pinned ComfyUI is put there by: comfypod comfyui install"
        raise ConfigurationError([f"{path}: cannot be read ({error}). {remedy}"]) from error
    found = (_kind_and_folders(node) for node in tree.body if isinstance(node, ast.Assign))
    kinds = {kind: folders for kind, folders in filter(None, found) if folders}
    if not kinds:
        raise ConfigurationError([f"{path}: the folders of models are not listed there in the form that is known."])
    return kinds


def _kind_and_folders(node: ast.Assign) -> tuple[str, tuple[str, ...]] | None:
    """Of ``folder_names_and_paths["vae"] = ([os.path.join(models_dir, "vae")], extensions)``: ``("vae", ("vae",))``."""
    match node:
        case ast.Assign(
            targets=[ast.Subscript(value=ast.Name(id="folder_names_and_paths"), slice=ast.Constant(value=str(kind)))],
            value=ast.Tuple(elts=[ast.List(elts=folders), *_]),
        ):
            return kind, tuple(name for folder in folders for name in _below_models(folder))
    return None


def _below_models(node: ast.expr) -> Iterator[str]:
    """Of ``os.path.join(models_dir, "vae")``: ``vae``; nothing of what lies elsewhere (``custom_nodes``)."""
    match node:
        case ast.Call(func=ast.Attribute(attr="join"), args=[ast.Name(id="models_dir"), ast.Constant(value=str(name))]):
            yield name


def within_seconds(seconds: float, look: Callable[[], _T]) -> _T:
    """What ``look`` returns or raises, if it ends in time: a volume whose server is gone may never answer.

    Its thread is left behind then. The program need not wait for it to end; the kernel may, where a disk cannot be
    interrupted.

    Raises:
        TimeoutError: it took longer.
    """
    answers: list[_T] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            answers.append(look())
        except Exception as error:  # noqa: BLE001 (the boundary of a thread: raised in the caller's)
            failures.append(error)

    thread = threading.Thread(target=run, name="volume", daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    if not answers:
        msg = f"it did not answer within {seconds:g} s"
        raise TimeoutError(msg)
    return answers[0]
