"""``models.toml``: which model files there are to be, and where they come from. It reads; it fetches nothing."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from comfypod.errors import ConfigurationError

When = Literal["build", "boot", "demand"]

_SOURCES = ("repository", "civitai", "url")
_DEFAULT_TOKENS = {"repository": "HF_TOKEN", "civitai": "CIVITAI_TOKEN"}


def _relative_path(text: str) -> str:
    """A path below some folder, with forward slashes; no part of it may lead out or be hidden."""
    parts = text.split("/")
    if (
        any(not part or part.startswith(".") for part in parts)
        or not text.isprintable()
        or set(text) & set('\\:*?"<>|')
    ):
        raise PydanticCustomError("path", "must be a relative path such as 'sdxl/x.safetensors', without '..'")
    if any(part != part.strip() for part in parts) or any(len(part.encode()) > 200 for part in parts):
        raise PydanticCustomError("path", "no part of it may begin or end with a space or exceed 200 bytes")
    return text


def _plain_url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/@?#]+(/\S*)?", text) or not text.isprintable():
        raise PydanticCustomError("url", "must be an http or https address without a user; a token goes in token_env")
    return text


RelativePath = Annotated[str, AfterValidator(_relative_path)]


class ModelEntry(BaseModel):
    """One ``[[model]]``: a file, the folder kind that ComfyUI looks for it in, and one source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: RelativePath
    """The file's name as ComfyUI's loaders show it; it may have a subfolder."""
    folder: RelativePath
    """ComfyUI's word for the kind: ``checkpoints``, ``loras``, ``vae`` …"""
    repository: Annotated[str, StringConstraints(pattern=r"^[\w.-]+(/[\w.-]+)?$")] | None = None
    """On Hugging Face: ``owner/name``."""
    file: RelativePath | None = None
    """Path within the repository; ``name`` by default."""
    revision: Annotated[str, StringConstraints(pattern=r"^[\w][\w./-]*$")] | None = None
    """Branch, tag or commit of the repository; ``main`` by default."""
    civitai: Annotated[int, Field(gt=0, strict=True)] | None = None
    """On Civitai: the number of the model's version."""
    url: Annotated[str, AfterValidator(_plain_url)] | None = None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)] | None = None
    size_bytes: Annotated[int, Field(gt=0, strict=True)] | None = None
    token_env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Environment variable that holds the source's token; HF_TOKEN and CIVITAI_TOKEN by default, none for a ``url``."""
    when: When = "demand"
    pinned: Annotated[bool, Field(strict=True)] = False
    """Never evicted."""
    allow_pickle: Annotated[bool, Field(strict=True)] = False
    """Loading a pickle can run code: only a file that is trusted should have this."""
    license: str | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        given = [source for source in _SOURCES if getattr(self, source) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise PydanticCustomError(
                "source", "needs one source (repository, civitai or url), has {found}", {"found": found}
            )
        if self.repository is None and (self.file is not None or self.revision is not None):
            raise PydanticCustomError("source", "'file' and 'revision' belong to a 'repository'")
        return self

    @property
    def key(self) -> str:
        """``folder/name``: what tells it from every other entry."""
        return f"{self.folder}/{self.name}"

    @property
    def source(self) -> str:
        """The source in one word, without the query of an address, which may hold a credential."""
        if self.url is not None:
            return self.url.partition("?")[0]
        return f"civitai:{self.civitai}" if self.civitai is not None else f"hf://{self.repository}"

    @property
    def suffix(self) -> str:
        """The file name's last suffix in small letters, with its point."""
        return PurePosixPath(self.name).suffix.lower()

    @property
    def token_variable(self) -> str | None:
        """The environment variable to read a token from, if there is to be one."""
        if self.token_env is not None:
            return self.token_env
        return next((name for source, name in _DEFAULT_TOKENS.items() if getattr(self, source) is not None), None)


class ModelManifest:
    """The entries of a ``models.toml``, in its order."""

    def __init__(self, entries: Sequence[ModelEntry] = ()) -> None:
        self.entries = tuple(entries)

    @classmethod
    def from_file(cls, path: Path) -> ModelManifest:
        """Read a file; see `parse`."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError([f"{path}: cannot be read ({error})."]) from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, source: str = "models.toml") -> ModelManifest:
        """Read the text of a ``models.toml``; ``source`` is what messages call it.

        Raises:
            ConfigurationError: it is not valid; every problem is named, with its entry and field.
        """
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError([f"{source}: is not TOML: {error}."]) from error
        tables = document.get("model", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise ConfigurationError([f"{source}: 'model' must be an array of tables ([[model]])."])
        problems = [
            f"{source}: {name!r} is not known here; models are [[model]]." for name in document if name != "model"
        ]
        entries = [
            entry for number, table in enumerate(tables, 1) if (entry := _entry(table, number, source, problems))
        ]
        counts = Counter(entry.key.casefold() for entry in entries)
        problems += [f"{source}: {key!r} is there {count} times." for key, count in counts.items() if count > 1]
        if problems:
            raise ConfigurationError(problems)
        return cls(entries)

    def named(self, name: str) -> list[ModelEntry]:
        """The entries with this name (of several folders, it may be), or with this ``folder/name``."""
        return [entry for entry in self.entries if name in (entry.key, entry.name)]

    def entry(self, name: str) -> ModelEntry:
        """The one entry that is meant by a name or ``folder/name``.

        Raises:
            ConfigurationError: there is none, or there are several.
        """
        found = self.named(name)
        if len(found) != 1:
            keys = ", ".join(entry.key for entry in found)
            problem = f"is ambiguous; say which: {keys}" if found else "is not in models.toml"
            raise ConfigurationError([f"The model {name!r} {problem}."])
        return found[0]

    def due(self, when: When) -> list[ModelEntry]:
        """The entries to fetch at ``build``, at ``boot``, or on ``demand``."""
        return [entry for entry in self.entries if entry.when == when]


def _entry(table: dict[str, Any], number: int, source: str, problems: list[str]) -> ModelEntry | None:
    try:
        return ModelEntry.model_validate(table)
    except ValidationError as error:
        name = table.get("name")
        label = f"model {name!r}" if isinstance(name, str) and name else f"model number {number}"
        for item in error.errors(include_url=False, include_context=False, include_input=False):
            field = ".".join(map(str, item["loc"])) + ": " if item["loc"] else ""
            problems.append(f"{source}: {label}: {field}{item['msg']}.")
        return None
