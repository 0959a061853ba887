"""Where packs of custom nodes lie in a repository; for commands that need not know any classes."""

from __future__ import annotations

from pathlib import Path

from comfypod.comfyui.node_packs import NodePack

NODES_TOML = Path("custom_nodes/nodes.toml")
PACK_FOLDERS = (Path("ComfyUI/custom_nodes"), Path("custom_nodes"))
"""Where a pack may lie: in a checkout of ComfyUI, or among those that the image takes from this repository."""


def pack_folder(pack: NodePack, root: Path) -> Path | None:
    """Where the pack lies in the repository at ``root``, or None.

    Installers name the folder after the pack or its repository, in letters of any case.
    """
    names = {pack.name.lower(), pack.source.rstrip("/").rpartition("/")[2].removesuffix(".git").lower()}
    for folder in (root / name for name in PACK_FOLDERS):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.is_dir() and path.name.lower() in names:
                return path
    return None
