"""Where a repository of this kind, and the image's /app, keep what the image is made of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from comfypod.comfyui.node_packs import NodePack
from comfypod.image.git import fetch_tree


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below ``root``."""

    root: Path

    @property
    def nodes_toml(self) -> Path:
        """The list of packs."""
        return self.root / "custom_nodes" / "nodes.toml"

    @property
    def comfyui(self) -> Path:
        """The folder of ComfyUI, with its pin."""
        return self.root / "ComfyUI"

    @property
    def torch_set(self) -> Path:
        """The versions of torch and what is compiled against it, for the image's default CUDA."""
        return self.root / "image" / "torch" / "cu128.in"

    @property
    def worker_requirements(self) -> Path:
        """What the worker needs, every version pinned."""
        return self.root / "requirements.txt"

    @property
    def lock(self) -> Path:
        """Every Python package of the image but torch's, pinned."""
        return self.root / "image" / "requirements.txt"

    @property
    def workflows(self) -> Path:
        """The templates."""
        return self.root / "workflows"

    def vendored(self, pack: NodePack) -> Path:
        """Where the files of a vendored pack lie."""
        return self.root / "custom_nodes" / pack.name

    def fetched(self, repository: str, commit: str) -> Path:
        """Where the files of a commit are kept, once they were fetched."""
        name = re.sub(r"[^A-Za-z0-9_.-]", "", repository.rstrip("/").rpartition("/")[2])
        return self.root / ".comfypod" / "sources" / f"{name}-{commit}"

    def fetch(self, repository: str, commit: str) -> Path:
        """The files of a commit, fetched if they were not before.

        Raises:
            SourceFetchFailed: they cannot be had.
        """
        folder = self.fetched(repository, commit)
        if not folder.is_dir():
            fetch_tree(repository, commit, folder)
        return folder
