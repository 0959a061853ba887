"""Changing ``nodes.toml`` as a person would: comments, order and everything else in it stay as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import AoT, Array

from comfypod.comfyui.node_packs import NodePack, NodePacks
from comfypod.errors import ConfigurationError
from comfypod.image.text_files import replace_text

_WIDTH = 100


def append_pack(path: Path, pack: NodePack) -> None:
    """Add an entry at the end; the file is made if it is not there.

    Raises:
        ConfigurationError: the file is not valid, or would not be with the entry; it cannot be written.
    """
    document = _load(path)
    packs = document.get("pack")
    if isinstance(packs, Array) and not packs:  # `pack = []`, which TOML does not let grow by [[pack]]
        document.remove("pack")
    elif packs is not None and not isinstance(packs, AoT):
        raise ConfigurationError([f"{path}: write each pack as a [[pack]] of its own."])
    before = tomlkit.dumps(document).rstrip("\n")
    _save(path, f"{before}\n\n{_entry(pack)}".lstrip("\n"))


def change_pack(path: Path, name: str, fields: Mapping[str, Any]) -> None:
    """Set fields of an entry.

    Raises:
        ConfigurationError: there is no such pack, or as `append_pack`.
    """
    document = _load(path)
    NodePacks.load(path).named(name)
    for entry in document["pack"]:
        if str(entry["name"]).casefold() == name.casefold():
            entry.update({key: _value(value) for key, value in fields.items()})
    _save(path, tomlkit.dumps(document))


def _load(path: Path) -> tomlkit.TOMLDocument:
    NodePacks.load(path)  # says what is wrong with it, if anything is
    return tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()


def _entry(pack: NodePack) -> str:
    fields = pack.model_dump(exclude_defaults=True)
    table = tomlkit.table()
    for name in ("name", "repository", "commit", "vendored", "classes"):
        if name in fields:
            table.add(name, _value(fields[name]))
    packs = tomlkit.aot()
    packs.append(table)
    return tomlkit.dumps({"pack": packs})


def _value(value: Any) -> Any:  # noqa: ANN401 (a text, a boolean, a list of texts)
    if not isinstance(value, Sequence) or isinstance(value, str):
        return value
    array = tomlkit.array()
    array.extend(value)
    return array.multiline(multiline=len(array.as_string()) > _WIDTH)


def _save(path: Path, text: str) -> None:
    NodePacks.parse(text, str(path))
    replace_text(path, text)
