"""Models that the platform has cached (RunPod's "cached models"): found, and linked where ComfyUI sees them.

Runs before ComfyUI starts: the standard library only. Nothing is read but ``models.toml`` and the names of files.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from comfypod.errors import ConfigurationError

HUB_CACHE = Path("/runpod-volume/huggingface-cache/hub")
"""docs.runpod.io, serverless/endpoints/model-caching: laid out as huggingface_hub's own cache."""
PLAIN_CACHE = Path("/runpod/cache")
"""Where the SDK looks instead (runpod-python 1.12.0, rp_model_cache.py): ``OWNER/NAME/REVISION``."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PREFIX = "models--"
# As in comfypod.files.pickles, which takes long to import.
_PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".dill", ".joblib", ".pickle", ".pkl", ".pt", ".pt2", ".pth"})


@dataclass(frozen=True, slots=True)
class CachedModel:
    """An entry of ``models.toml`` whose file is in a cache, at ``path``; ``folder`` is ComfyUI's kind."""

    folder: str
    name: str
    repository: str
    commit: str
    path: Path


@dataclass(frozen=True, slots=True)
class CachedModels:
    """What was found; ``notes`` are sentences about what is in the cache and cannot be used."""

    models: tuple[CachedModel, ...] = ()
    notes: tuple[str, ...] = ()

    def link(self, target: Path) -> list[tuple[str, Path]]:
        """Make symlinks ``TARGET/<folder>/<name>``, and return the pairs of kind and folder for ``find_model_paths``.

        ``target`` is the worker's own: links from an earlier start that lie in it are removed.

        Raises:
            OSError: it cannot be written to.
        """
        _remove_links(target)
        for model in self.models:
            link = target / model.folder / model.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(model.path)
        return [(folder, target / folder) for folder in dict.fromkeys(model.folder for model in self.models)]


def find_cached_models(models_toml: Path, hub: Path = HUB_CACHE, plain: Path = PLAIN_CACHE) -> CachedModels:
    """Look in the platform's caches for the files of ``models.toml`` that have a ``repository``.

    The caches may be on a volume that never answers: call it with a limit
    (``comfypod.comfyui.model_paths.within_seconds``).

    Raises:
        ConfigurationError: ``models.toml`` cannot be read. What is wrong in single entries is the manifest's to say;
            they are passed over.
        OSError: a cache is there and cannot be read.
    """
    cache = _Cache(hub, plain)
    if cache.is_empty:
        return CachedModels()
    found: dict[tuple[str, str], CachedModel] = {}
    notes: list[str] = []
    entries = list(_entries(models_toml))
    for entry in entries:
        try:
            if model := cache.find(entry):
                found.setdefault((model.folder, model.name), model)
        except _Unusable as error:
            notes.append(f"The platform's copy of {entry.repository} is not used for {entry.name}: {error}.")
    notes += [
        f"The platform has cached {repository}; {models_toml.name} names no file of it, so none is used."
        for repository in cache.others(entries)
    ]
    return CachedModels(tuple(found.values()), tuple(notes))


class _Unusable(Exception):
    """What is in the cache is not what the entry wants; a clause."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """What matters here of a ``[[model]]`` (``ModelEntry`` in the manifest); its names lead out of no folder."""

    folder: str
    name: str
    repository: str
    file: str
    revision: str | None
    size_bytes: int | None
    sha256: str | None
    allow_pickle: bool


class _Cache:
    """Both layouts; at most one is there."""

    def __init__(self, hub: Path, plain: Path) -> None:
        self._plain = plain
        # In small letters: the Hub takes a name in either case, and the cache has it in the one that was typed.
        self._repositories = {path.name.casefold(): path for path in _subfolders(hub) if path.name.startswith(_PREFIX)}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to look into."""
        return not self._repositories and not self._plain.is_dir()

    def find(self, entry: _Entry) -> CachedModel | None:
        """The model, None if its repository is not cached.

        Raises:
            _Unusable: it is, and the file cannot be used.
        """
        snapshot = self._snapshot(entry)
        if snapshot is None:
            return None
        if PurePosixPath(entry.name).suffix.lower() in _PICKLE_SUFFIXES and not entry.allow_pickle:
            raise _Unusable("it may run code when it is loaded, and its entry has no allow_pickle = true")
        path = snapshot / entry.file
        _check(path, entry)
        return CachedModel(entry.folder, entry.name, entry.repository, snapshot.name, path)

    def others(self, entries: Iterable[_Entry]) -> list[str]:
        """The cached repositories that none of the entries is about."""
        named = {_folder_name(entry.repository) for entry in entries}
        paths = [path for key, path in sorted(self._repositories.items()) if key not in named]
        return [path.name.removeprefix(_PREFIX).replace("--", "/", 1) for path in paths]

    def _snapshot(self, entry: _Entry) -> Path | None:
        if repository := self._repositories.get(_folder_name(entry.repository)):
            return repository / "snapshots" / _commit(repository, entry.revision)
        plain = self._plain / entry.repository / (entry.revision or "main")
        return plain if plain.is_dir() else None


def _folder_name(repository: str) -> str:
    return f"{_PREFIX}{repository.replace('/', '--')}".casefold()


def _commit(repository: Path, revision: str | None) -> str:
    """The snapshot of a revision: a commit, what ``refs/REVISION`` says, or the only one there is."""
    commit = revision if revision and _COMMIT.fullmatch(revision) else _reference(repository, revision or "main")
    there = {path.name for path in _subfolders(repository / "snapshots")}
    if commit is None and revision is None and len(there) == 1:
        commit = next(iter(there))  # RunPod's page promises snapshots, and says nothing of refs
    if commit not in there:
        raise _Unusable(f"the revision {revision or 'main'!r} is not there")
    return commit


def _reference(repository: Path, name: str) -> str | None:
    try:
        with (repository / "refs" / name).open("rb") as file:
            text = file.read(100).decode("ascii", "replace").strip()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    return text if _COMMIT.fullmatch(text) else None


def _check(path: Path, entry: _Entry) -> None:
    """Whether it is there and may be what the entry wants; its content is not read, which would take minutes."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise _Unusable(f"{entry.file} is not there") from None
    if not stat.S_ISREG(status.st_mode):
        raise _Unusable(f"{entry.file} is not a file")
    if status.st_size == 0 or entry.size_bytes not in {None, status.st_size}:
        raise _Unusable(f"it has {status.st_size:,} bytes, which is not its size")
    # A large file is a link to its content, whose name is the SHA-256 (huggingface_hub 2.4.0, file_download.py: etag).
    content = path.resolve().name
    if entry.sha256 and _SHA256.fullmatch(content) and content != entry.sha256:
        raise _Unusable(f"its sha256 is {content} instead of {entry.sha256}")


def _entries(models_toml: Path) -> Iterator[_Entry]:
    try:
        document = tomllib.loads(models_toml.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise ConfigurationError([f"{models_toml}: cannot be read ({error})."]) from error
    tables = document.get("model")
    for table in tables if isinstance(tables, list) else ():
        if isinstance(table, dict) and (entry := _entry(table)):
            yield entry


def _entry(table: Mapping[str, Any]) -> _Entry | None:
    """An entry, if it has a repository, and all of its names are what they should be."""
    texts = {"file": table.get("name"), "revision": "main", **table}
    names = [texts.get(key) for key in ("folder", "name", "repository", "file", "revision")]
    if not all(isinstance(name, str) and _is_below(name) for name in names):
        return None
    folder, name, repository, file = map(str, names[:4])
    size_bytes, sha256, revision = (table.get(key) for key in ("size_bytes", "sha256", "revision"))
    return _Entry(
        folder,
        name,
        repository,
        file,
        revision,
        size_bytes if isinstance(size_bytes, int) else None,
        sha256.lower() if isinstance(sha256, str) else None,
        table.get("allow_pickle") is True,
    )


def _is_below(path: str) -> bool:
    """Whether it leads to something below the folder it is joined to, and to nothing hidden."""
    return path.isprintable() and "\\" not in path and all(part and part[0] != "." for part in path.split("/"))


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove_links(folder: Path) -> None:
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink():
                path.unlink()
