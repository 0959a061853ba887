"""Model files by the names that workflows have for them: those of ``models.toml``, and what is assumed of others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pydantic import TypeAdapter, ValidationError

from comfypod.batch.manifest.loaders import EMBEDDINGS, NamedFile
from comfypod.schema.wire import listed, shortened
from comfypod.storage.models.manifest import ModelEntry, ModelManifest, RelativePath

_PATH: TypeAdapter[str] = TypeAdapter(RelativePath)


@dataclass(frozen=True, slots=True)
class Assets:
    """What a workflow's files are: keys in the order of its loaders; what is wrong, and what is to be known."""

    keys: tuple[str, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Found:
    keys: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class ModelLibrary:
    """Knows the entries of ``models.toml``. ``accepts_unknown``: other names are files that the image has."""

    def __init__(self, manifest: ModelManifest, *, accepts_unknown: bool = False) -> None:
        self.entries: Mapping[str, ModelEntry] = {entry.key: entry for entry in manifest.entries}
        self._accepts_unknown = accepts_unknown
        self._by_name: dict[str, list[str]] = {}
        for entry in manifest.entries:
            names = {entry.name}
            if entry.folder == EMBEDDINGS:  # in a text they may stand without their suffix
                names.add(str(PurePosixPath(entry.name).with_suffix("")))
            for name in names:
                self._by_name.setdefault(name, []).append(entry.key)

    def assets_of(self, files: Iterable[NamedFile]) -> Assets:
        """The assets behind these names, each once."""
        found = _Found()
        for file in files:
            self._look_up(file, found)
        return Assets(tuple(dict.fromkeys(found.keys)), tuple(found.problems), tuple(found.notes))

    def key_problem(self, key: str) -> str | None:
        """Why this is no asset's key, as a clause; None if it is one."""
        if key in self.entries:
            return None
        if not self._accepts_unknown:
            return f"{shortened(key)!r} is not in models.toml{self._nearly(key)}"
        return None if "/" in key and _is_path(key) else f"{shortened(key)!r} is not FOLDER/NAME"

    def _look_up(self, file: NamedFile, found: _Found) -> None:
        if file.name is None:
            found.notes.append(f"{file.place} is computed by another node; name its file in the row's assets")
            return
        keys = [key for key in self._by_name.get(file.name, ()) if file.folder in {None, key.partition("/")[0]}]
        if keys:
            found.keys += keys
        elif file.folder is None:
            found.notes.append(
                f"{file.place} {shortened(file.name)!r} is not in models.toml; no file is planned for it"
            )
        elif file.folder == EMBEDDINGS:
            found.notes.append(f"{file.place}: the embedding {shortened(file.name)!r} is not in models.toml")
        elif not _is_path(file.name):
            found.problems.append(f"{file.place} {shortened(file.name)!r} leads out of the folder of models")
        elif self._accepts_unknown:
            found.keys.append(f"{file.folder}/{file.name}")
        else:
            remedy = "`comfypod models add` writes an entry; --assume-size takes it to be in the image"
            problem = f"{shortened(file.name)!r} is not in models.toml as a file of {file.folder}"
            found.problems.append(f"{file.place} {problem}{self._nearly(file.name)}; {remedy}")

    def _nearly(self, name: str) -> str:
        """What is there of that file name, in another folder."""
        stem = name.rpartition("/")[2].lower()
        near = [key for key in self.entries if key.rpartition("/")[2].lower() == stem]
        return f" (there is {listed(near, 3)})" if near else ""


def _is_path(name: str) -> bool:
    try:
        _PATH.validate_python(name)
    except ValidationError:
        return False
    return True
