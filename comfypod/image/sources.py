"""Who requires Python packages in the image: ComfyUI, the worker, the packs, and torch's set, which binds them all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfypod.comfyui.checkout import installed_commit
from comfypod.comfyui.node_packs import NodePack, NodePacks
from comfypod.comfyui.pin import PIN_FILE, ComfyUIPin
from comfypod.errors import ConfigurationError
from comfypod.image.layout import Layout
from comfypod.image.pack_tree import check_tree
from comfypod.image.requirements import pack_requirements, read_requirements

COMFYUI, WORKER = "ComfyUI", "the worker"


@dataclass(frozen=True, slots=True)
class Source:
    """One of them.

    ``label`` tells this state of it from any other, without fetching anything: by commit where there is one, else by
    the digest of what is required. ``read`` gives the requirements, and may have to fetch them.
    """

    name: str
    label: str
    read: Callable[[], Sequence[str]]


def all_sources(layout: Layout) -> list[Source]:
    """All of them, torch's set last.

    Raises:
        ConfigurationError: a file of the repository is missing or cannot be taken.
    """
    pin = ComfyUIPin.load(layout.comfyui / PIN_FILE)
    packs = NodePacks.load(layout.nodes_toml).pack
    sources = [
        Source(COMFYUI, f"{COMFYUI} {pin.version}, commit {pin.commit}", lambda: _comfyui(layout, pin)),
        _of_file(WORKER, layout.worker_requirements, layout),
        *(_of_pack(pack, layout) for pack in packs),
        torch_set(layout),
    ]
    if problems := [f"No pack can be called {pack.name!r}." for pack in packs if pack.name in {COMFYUI, WORKER}]:
        raise ConfigurationError(problems)
    return sources


def torch_set(layout: Layout) -> Source:
    """The versions of torch and what is compiled against it.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    return _of_file(str(layout.torch_set.relative_to(layout.root)), layout.torch_set, layout)


def pack_files_of(pack: NodePack, layout: Layout) -> Path:
    """The folder with the pack's files: the vendored one, else that of its commit, fetched if need be.

    Raises:
        SourceFetchFailed: they cannot be had, or are not harmless.
    """
    if pack.vendored or pack.repository is None or pack.commit is None:
        return layout.vendored(pack)
    folder = layout.fetch(pack.repository, pack.commit)
    check_tree(folder, pack.repository)
    return folder


def comfyui_files(layout: Layout, pin: ComfyUIPin) -> Path:
    """The folder with the pinned ComfyUI's files: where it is installed, else fetched if need be.

    Raises:
        SourceFetchFailed: they cannot be had.
    """
    return known_comfyui_files(layout, pin) or layout.fetch(pin.repository, pin.commit)


def known_comfyui_files(layout: Layout, pin: ComfyUIPin) -> Path | None:
    """The same, if they are on this machine."""
    if installed_commit(layout.comfyui) == pin.commit:
        return layout.comfyui
    folder = layout.fetched(pin.repository, pin.commit)
    return folder if folder.is_dir() else None


def _comfyui(layout: Layout, pin: ComfyUIPin) -> Sequence[str]:
    return read_requirements(comfyui_files(layout, pin) / "requirements.txt", COMFYUI)


def _of_file(name: str, path: Path, layout: Layout) -> Source:
    required = read_requirements(path, name)
    place = str(path.relative_to(layout.root))
    shown = place if place == name else f"{name}, {place}"
    return Source(name, f"{shown}, {_digest(required)}", lambda: required)


def _of_pack(pack: NodePack, layout: Layout) -> Source:
    if pack.vendored or pack.requirements is not None:
        required = pack_requirements(pack, layout.vendored(pack))
        label = f"{pack.name}, {_digest(required)}"
    else:
        label = f"{pack.name}, commit {pack.commit}"
    if pack.build_from_source:
        label += f", built from source: {', '.join(pack.build_from_source)}"
    return Source(pack.name, label, lambda: pack_requirements(pack, pack_files_of(pack, layout)))


def _digest(required: Sequence[str]) -> str:
    text = "\n".join(required)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
