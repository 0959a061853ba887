"""Packs are put where ComfyUI loads them from, and what they require into its Python."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from comfypod.comfyui.checkout import checkout_python
from comfypod.comfyui.node_packs import NodePack
from comfypod.errors import ConfigurationError, SourceFetchFailed
from comfypod.image.git import fetch_tree
from comfypod.image.layout import Layout
from comfypod.image.pack_tree import check_tree, remarks, tree_digest
from comfypod.image.requirements import pack_requirements
from comfypod.image.resolver import find_uv, resolution_failure
from comfypod.image.vendoring import Origin, copy_files, place, state_of

TORCH_SET = frozenset({"torch", "torchvision", "torchaudio", "xformers"})
INSTALL_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Installed:
    """A pack that is in its place now; what should be known of it."""

    pack: NodePack
    folder: Path
    did: Literal["installed", "replaced", "was there"]
    remarks: Sequence[str]


def install_pack(layout: Layout, pack: NodePack, directory: Path, *, force: bool) -> Installed:
    """Put a pack into ``directory/NAME``, if it is not there at its commit: vendored files, else fetched ones.

    Raises:
        ConfigurationError: what lies there would be lost, or vendored files are missing.
        SourceFetchFailed: its files cannot be had, or are not harmless.
    """
    folder = directory / pack.name
    if pack.vendored and not layout.vendored(pack).is_dir():
        remedy = f"comfypod nodes vendor {pack.name}" if pack.repository else "put its files there"
        raise ConfigurationError([f"{layout.vendored(pack)} is not there: {remedy}."])
    if _is_there(layout, pack, folder):
        return Installed(pack, folder, "was there", ())
    did: Literal["installed", "replaced"] = "replaced" if folder.exists() else "installed"
    place(_filling(layout, pack), folder, pack.repository, pack.commit, force=force)
    return Installed(pack, folder, did, remarks(folder))


def _is_there(layout: Layout, pack: NodePack, folder: Path) -> bool:
    origin = Origin.read(folder)
    if origin is None or state_of(folder) != "as noted":
        return False
    return origin.tree == tree_digest(layout.vendored(pack)) if pack.vendored else origin.commit == pack.commit


def _filling(layout: Layout, pack: NodePack) -> Callable[[Path], None]:
    """What puts the pack's files into a new folder."""

    def fill(folder: Path) -> None:
        source = _kept(layout, pack)
        if source is None:
            source = folder.with_name("fetched")
            fetch_tree(str(pack.repository), str(pack.commit), source)
        check_tree(source, pack.source)
        copy_files(source)(folder)

    return fill


def _kept(layout: Layout, pack: NodePack) -> Path | None:
    if pack.vendored or pack.repository is None or pack.commit is None:
        return layout.vendored(pack)
    folder = layout.fetched(pack.repository, pack.commit)
    return folder if folder.is_dir() else None


def install_requirements(layout: Layout, installed: Sequence[Installed], python: Path | None = None) -> list[str]:
    """Install what packs require, as wheels, within the versions that the image has.

    ``UV_CONSTRAINT`` names the files that bind it; where that is set, ``image/requirements.txt`` binds it, too. The
    torch set that is there stays, wherever this runs.

    Args:
        layout: for the image's versions, and ComfyUI's own virtual environment.
        installed: the packs, in their folders.
        python: whose packages; by default those of ComfyUI's virtual environment, else of the one that runs this.

    Returns:
        The requirements that are met now.

    Raises:
        RequirementsConflict: they cannot be met together, or not with what the image has.
        SourceFetchFailed: the index of packages does not answer, or a package cannot be installed.
        ConfigurationError: a pack requires what cannot be taken; or there is no uv.
    """
    required = {item.pack.name: pack_requirements(item.pack, item.folder) for item in installed}
    lines = [line for name in required for line in required[name]]
    if not lines:
        return []
    bounds = [Path(path) for path in os.environ.get("UV_CONSTRAINT", "").split()]
    bounds += [layout.lock] if bounds and layout.lock.is_file() else []
    builds = [name for item in installed for name in item.pack.build_from_source]
    target = str(python or checkout_python(layout.comfyui) or sys.executable)
    options = ["--python", target, "--only-binary", ":all:"]
    options += [part for name in builds for part in ("--no-binary", name)]
    options += [part for path in bounds for part in ("--constraint", str(path.resolve()))]
    with tempfile.TemporaryDirectory(prefix="comfypod-install-") as work:
        Path(work, "packs.in").write_text("\n".join(lines) + "\n", encoding="utf-8")
        Path(work, "torch.txt").write_text("\n".join(_torch_set(target, work)) + "\n", encoding="utf-8")
        options += ["--constraint", "torch.txt", "--requirements", "packs.in"]
        done = _run([str(find_uv()), "pip", "install", "--quiet", "--color", "never", *options], work)
    if done.returncode:
        raise resolution_failure(done.stderr, required)
    return lines


def _torch_set(python: str, work: str) -> list[str]:
    """What that Python has of the torch set, pinned: another torch may not fit its GPU, or the others of the set."""
    frozen = _run([str(find_uv()), "pip", "freeze", "--quiet", "--color", "never", "--python", python], work)
    return [line for line in frozen.stdout.splitlines() if line.partition("==")[0] in TORCH_SET]


def _run(command: Sequence[str], folder: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 (uv, with arguments of our own)
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=folder,
            env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
            timeout=INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise SourceFetchFailed("uv pip install", f"it did not end within {INSTALL_SECONDS:g} s") from error
