"""``comfypod nodes …``: the packs of ``nodes.toml``, whether they are here, and who has a class."""

from __future__ import annotations

import fnmatch
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from comfypod.cli.exit_codes import ExitCode
from comfypod.cli.node_catalogue import NodeSource, find_node_source
from comfypod.cli.pack_folders import NODES_TOML, pack_folder
from comfypod.cli.reports import print_json, print_line, print_table, print_text
from comfypod.comfyui.catalogue import Catalogue
from comfypod.comfyui.node_packs import NodePack, NodePacks
from comfypod.image.vendoring import Origin
from comfypod.schema.wire import as_object, listed

_GIT_SECONDS = 10.0

Presence = Literal["here", "other commit", "missing"]


@dataclass(frozen=True, slots=True)
class PackState:
    """A pack and whether it is here.

    ``known`` and ``unknown`` are those of its classes (or patterns) that the ComfyUI that was asked has and lacks; None
    where none was asked.
    """

    pack: NodePack
    presence: Presence
    folder: Path | None
    known: list[str] | None = None
    unknown: list[str] | None = None


def list_packs(comfyui_url: str | None, *, as_json: bool) -> int:
    """Print every pack of ``nodes.toml``.

    Raises:
        ConfigurationError: ``nodes.toml`` is not valid.
        ComfyUIUnavailable, ProtocolViolation: the ComfyUI at ``comfyui_url`` does not answer as one.
    """
    packs = NodePacks.load(NODES_TOML)
    source = find_node_source(comfyui_url, Path("models.toml")) if comfyui_url else None
    states = [_state(pack, source.catalogue if source else None) for pack in packs.pack]
    if as_json:
        print_json({"asked": source.name if source else None, "packs": [_to_json(state) for state in states]})
        return 0
    if not states:
        print_text(f"{NODES_TOML} names no packs.")
        return 0
    print_table(
        ("pack", "commit", "files", "here", *(("in " + source.name,) if source else ()), "classes", "repository"),
        (_row(state) for state in states),
    )
    return 0


def find_class(name: str, comfyui_url: str | None, *, as_json: bool) -> int:
    """Say which pack has a class, and whether the ComfyUI (or the built-in engine) knows it.

    Raises:
        ConfigurationError, ComfyUIUnavailable, ProtocolViolation: as `list_packs`.
    """
    packs = [pack for pack in NodePacks.load(NODES_TOML).pack if pack.has(name)]
    source = find_node_source(comfyui_url, Path("models.toml"))
    is_known = name in source.catalogue
    near = [] if is_known or packs else source.catalogue.nearest_classes(name)
    if as_json:
        states = [_to_json(_state(pack, None)) for pack in packs]
        asked = {**source.to_json(), "knows_it": is_known, "from": _origin(name, source) if is_known else None}
        print_json({"class": name, "packs": states, "asked": asked, "near": near})
    else:
        for sentence in _sentences(name, packs, source, near):
            print_line(name, sentence, "bold")
    return ExitCode.SUCCESS if is_known or packs else ExitCode.USAGE


def _sentences(name: str, packs: list[NodePack], source: NodeSource, near: list[str]) -> Iterator[str]:
    for pack in packs:
        state = _state(pack, None)
        yield f"belongs to {pack.name} ({_origin_of(pack)}), which is {_where(state)}"
    if name in source.catalogue:
        yield f"{source.name} knows it; it comes from {_origin(name, source)}"
        return
    advice = f"; did you mean {' or '.join(near)}?" if near else ""
    unlisted = "" if packs else f", and no pack of {NODES_TOML} has it"
    yield f"{source.name} does not know it{unlisted}{advice}"


def _origin(name: str, source: NodeSource) -> str:
    """The module that has the class, as ComfyUI tells it (``server.py: node_info``, ``python_module``)."""
    module = str(as_object(source.catalogue.object_info.get(name)).get("python_module") or "a class that replaces it")
    return "ComfyUI itself" if source.catalogue.is_core(name) else module


def _origin_of(pack: NodePack) -> str:
    return f"{pack.source} at {pack.commit[:10]}" if pack.commit else pack.source


def _state(pack: NodePack, catalogue: Catalogue | None) -> PackState:
    folder = pack_folder(pack, Path())
    presence = _presence(pack, folder)
    if catalogue is None:
        return PackState(pack, presence, folder)
    known = [pattern for pattern in pack.classes if fnmatch.filter(catalogue.object_info, pattern)]
    return PackState(pack, presence, folder, known, [item for item in pack.classes if item not in known])


def _presence(pack: NodePack, folder: Path | None) -> Presence:
    if folder is None:
        return "missing"
    commit = _commit(folder)
    return "here" if commit in {None, pack.commit} else "other commit"


def _commit(folder: Path) -> str | None:
    """The commit that is noted, or checked out; None where that cannot be told."""
    if origin := Origin.read(folder):
        return origin.commit
    if not (folder / ".git").exists():  # else git would answer for the repository around it
        return None
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_GIT_SECONDS)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _where(state: PackState) -> str:
    if state.folder is None:
        return "not here"
    extra = ", at another commit" if state.presence == "other commit" else ""
    return f"here ({state.folder}{extra})"


def _row(state: PackState) -> list[str]:
    pack = state.pack
    asked = [] if state.known is None else [_known(state)]
    here = state.presence if state.folder is None else f"{state.presence}: {state.folder}"
    kind = "own" if pack.repository is None else "vendored" if pack.vendored else "fetched"
    return [pack.name, (pack.commit or "")[:10], kind, here, *asked, listed(pack.classes, 5), pack.source]


def _known(state: PackState) -> str:
    if not state.unknown:
        return "all" if state.known else "no classes are listed"
    return "none" if not state.known else f"lacks {listed(state.unknown, 5)}"


def _to_json(state: PackState) -> dict[str, object]:
    return {
        **state.pack.model_dump(),
        "presence": state.presence,
        "folder": str(state.folder) if state.folder else None,
        "known": state.known,
        "unknown": state.unknown,
    }
