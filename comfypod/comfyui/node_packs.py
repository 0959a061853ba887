"""The custom node packs that ``custom_nodes/nodes.toml`` knows, and which classes belong to them."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from comfypod.errors import ConfigurationError

PackageName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]


class NodePack(BaseModel):
    """A pack: where it comes from, and its node classes (names, or patterns such as ``VHS_*``).

    A vendored pack's files lie in ``custom_nodes/NAME`` of this repository. One without ``repository`` is this
    repository's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_. +-]*[A-Za-z0-9_+-])?$", max_length=100)]
    """Also that of its folder."""
    vendored: Annotated[bool, Field(strict=True)] = False
    repository: str | None = Field(default=None, validate_default=True)
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        default=None, validate_default=True
    )
    classes: list[str] = Field(default_factory=list)
    requirements: list[str] | None = None
    """What it needs of Python packages, in place of what its own files say."""
    build_from_source: list[PackageName] = Field(default_factory=list)
    """Those of the packages it needs that may be built where there is no wheel, which runs code of theirs."""

    @field_validator("repository")
    @classmethod
    def _is_an_address(cls, repository: str | None, info: ValidationInfo) -> str | None:
        if repository is None:
            if not info.data.get("vendored"):
                raise PydanticCustomError("repository", "must say where it comes from, unless it is vendored")
            return None
        if not repository or not repository.isprintable() or repository.startswith("-"):
            raise PydanticCustomError("repository", "must be the address of a git repository")
        if re.match(r"https?://[^/]*@|[^/]*://[^/@]*:[^/@]*@", repository):
            raise PydanticCustomError("repository", "must not hold a token or password: this file is read by many")
        return repository

    @field_validator("commit")
    @classmethod
    def _belongs_to_a_repository(cls, commit: str | None, info: ValidationInfo) -> str | None:
        if "repository" in info.data and (commit is None) != (info.data["repository"] is None):
            raise PydanticCustomError("commit", "must be there if and only if 'repository' is")
        return commit

    @property
    def source(self) -> str:
        """Its repository, in words where it is this one."""
        return self.repository or "this repository"

    def has(self, class_type: str) -> bool:
        """Whether the class is one of its own."""
        return any(fnmatch.fnmatchcase(class_type, pattern) for pattern in self.classes)


class NodePacks(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pack: list[NodePack] = Field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> NodePacks:
        """Read ``path``; no file means no packs.

        Raises:
            ConfigurationError: it is not such a file; every problem is named.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError) as error:
            raise ConfigurationError([f"{path} cannot be read: {error}."]) from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, source: str) -> Self:
        """Read the text of a ``nodes.toml``; ``source`` is what messages call it.

        Raises:
            ConfigurationError: as `load`.
        """
        try:
            packs = cls.model_validate(tomllib.loads(text))
        except ValidationError as error:
            problems = [f"{source}: {'.'.join(map(str, item['loc']))}: {item['msg']}." for item in error.errors()]
            raise ConfigurationError(problems) from error
        except ValueError as error:
            raise ConfigurationError([f"{source} cannot be read: {error}."]) from error
        counts = Counter(pack.name.casefold() for pack in packs.pack)
        if problems := [f"{source}: {name!r} is there {count} times." for name, count in counts.items() if count > 1]:
            raise ConfigurationError(problems)
        return packs

    def named(self, name: str) -> NodePack:
        """The pack of this name, in letters of any case.

        Raises:
            ConfigurationError: there is none.
        """
        for pack in self.pack:
            if pack.name.casefold() == name.casefold():
                return pack
        known = ", ".join(pack.name for pack in self.pack) or "none"
        raise ConfigurationError([f"nodes.toml has no pack {name!r}; it has: {known}."])

    def explain(self, class_type: str, failed_imports: Mapping[str, str]) -> str | None:
        """A clause that says where a class that is not here should come from.

        Args:
            class_type: of the node.
            failed_imports: the packs that failed to import when ComfyUI started, and why.
        """
        for pack in self.pack:
            if pack.has(class_type):
                return f"it belongs to {pack.name} ({pack.source}), which is not installed here or failed to load"
        if failed_imports:
            packs = ", ".join(f"{pack} ({reason})" for pack, reason in failed_imports.items())
            return f"these custom node packs failed to import: {packs}; it may belong to one of them"
        return None
