"""The custom node packs that ``custom_nodes/nodes.toml`` knows, and which classes belong to them."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comfypod.errors import ConfigurationError


class NodePack(BaseModel):
    """A pack: where it comes from, and its node classes (names, or patterns such as ``VHS_*``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    repository: str
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    classes: list[str] = Field(default_factory=list)


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
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return cls()
        except ValidationError as error:
            problems = [f"{path}: {'.'.join(map(str, item['loc']))}: {item['msg']}." for item in error.errors()]
            raise ConfigurationError(problems) from error
        except (OSError, ValueError) as error:
            raise ConfigurationError([f"{path} cannot be read: {error}."]) from error

    def explain(self, class_type: str, failed_imports: Mapping[str, str]) -> str | None:
        """A clause that says where a class that is not here should come from.

        Args:
            class_type: of the node.
            failed_imports: the packs that failed to import when ComfyUI started, and why.
        """
        for pack in self.pack:
            if any(fnmatch.fnmatchcase(class_type, pattern) for pattern in pack.classes):
                return f"it belongs to {pack.name} ({pack.repository}), which is not installed here or failed to load"
        if failed_imports:
            packs = ", ".join(f"{pack} ({reason})" for pack, reason in failed_imports.items())
            return f"these custom node packs failed to import: {packs}; it may belong to one of them"
        return None
