"""Which node classes a pack, or ComfyUI itself, brings, as far as their files say it: nothing is run."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from comfypod.image.pack_tree import pack_files

MAPPINGS = "NODE_CLASS_MAPPINGS"
_ID_ATTRIBUTES = ("node_id", "NodeId")
"""Of classes whose base class makes the rest: ComfyUI, comfy_extras/nodes_dataset.py and nodes_hooks.py."""
_LARGEST_BYTES = 4 * 1024**2
_LONGEST_NAME = 200


def find_classes(folder: Path) -> list[str]:
    """The classes of a pack, sorted.

    Found are the literal keys of ``NODE_CLASS_MAPPINGS`` (ComfyUI's nodes.py, load_custom_node), and the literal
    ``node_id`` of schemas (comfy_api, ``define_schema``). What a pack makes at run time is not.
    """
    return _sorted_classes(pack_files(folder))


def find_own_classes(comfyui: Path) -> list[str]:
    """The classes that the ComfyUI in this folder has without any pack (nodes.py, init_extra_nodes), sorted."""
    folders = [comfyui / name for name in ("comfy_extras", "comfy_api_nodes")]
    return _sorted_classes([comfyui / "nodes.py", *(path for folder in folders for path in folder.glob("*.py"))])


def _sorted_classes(paths: Iterable[Path]) -> list[str]:
    found: set[str] = set()
    for path in paths:
        if path.suffix == ".py" and not path.is_symlink() and path.stat().st_size <= _LARGEST_BYTES:
            found.update(_classes_in(path))
    return sorted(name for name in found if name.isprintable() and 0 < len(name) <= _LONGEST_NAME)


def _classes_in(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of strange escapes in others' files
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # no Python, or made to break its parser; ComfyUI could not load it either
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _assigned(target, node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield from _assigned(node.target, node.value)
        elif isinstance(node, ast.Call):
            yield from _updated(node)
            yield from _schema_id(node)


def _assigned(target: ast.expr, value: ast.expr) -> Iterator[str]:
    """``NODE_CLASS_MAPPINGS = {…}``, ``NODE_CLASS_MAPPINGS["…"] = …``, and a class's ``node_id = "…"``."""
    if _is_mappings(target):
        yield from _keys(value)
    elif _name(target) in _ID_ATTRIBUTES:
        yield from _text(value)
    elif isinstance(target, ast.Subscript) and _is_mappings(target.value):
        yield from _text(target.slice)


def _updated(call: ast.Call) -> Iterator[str]:
    """``NODE_CLASS_MAPPINGS.update({…})``."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "update" and _is_mappings(call.func.value):
        for argument in call.args:
            yield from _keys(argument)


def _schema_id(call: ast.Call) -> Iterator[str]:
    """``io.Schema(node_id="…", …)``."""
    if _name(call.func) != "Schema":
        return
    for keyword in call.keywords:
        if keyword.arg == "node_id":
            yield from _text(keyword.value)


def _is_mappings(node: ast.expr) -> bool:
    return _name(node) == MAPPINGS


def _name(node: ast.expr) -> str:
    """The name, or the last part of a name with points."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _keys(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Dict):
        for key in node.keys:
            if key is not None:  # None: **another
                yield from _text(key)


def _text(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
