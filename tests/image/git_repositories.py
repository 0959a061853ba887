"""Git repositories of the tests' own, with node packs in them, and a repository of ours to bring them into."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from comfypod.image.layout import Layout

GIT_SECONDS = 30.0
PACK = 'NODE_CLASS_MAPPINGS = {"ExampleLoader": object, "ExampleSaver": object}\n'


class GitRepository:
    """A repository with a branch ``main``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self._git("init", "--quiet", "--initial-branch", "main")

    @property
    def address(self) -> str:
        return str(self.path)

    def commit(self, files: Mapping[str, str], *, links: Mapping[str, str] | None = None) -> str:
        """Write files (and links, to what they name), and commit all that is there; returns the commit."""
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for name, target in (links or {}).items():
            (self.path / name).symlink_to(target)
        self._git("add", "--all", "--force")
        self._git("commit", "--quiet", "--message", "x")
        return self._git("rev-parse", "HEAD").strip()

    def remove(self, name: str) -> None:
        (self.path / name).unlink()

    def tag(self, name: str) -> None:
        self._git("tag", "--annotate", "--message", "x", name)

    def _git(self, *arguments: str) -> str:
        who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        command = ["git", *who, "-C", str(self.path), *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=GIT_SECONDS, env=environment)
        return done.stdout


@pytest.fixture
def pack(tmp_path: Path) -> GitRepository:
    """A node pack with two classes."""
    repository = GitRepository(tmp_path / "sources" / "comfy-example")
    repository.commit({"__init__.py": PACK})
    return repository


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A repository of ours that has no packs yet."""
    found = Layout(tmp_path / "ours")
    found.nodes_toml.parent.mkdir(parents=True)
    found.nodes_toml.write_text("# Our packs.\n\npack = []\n", encoding="utf-8")
    return found
