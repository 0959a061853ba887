"""The WORKFLOW of ``comfypod run``: a file in API or page format, or the name of a template."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from comfypod.errors import InvalidJobInput
from comfypod.schema.wire import as_list, as_object

Note = Callable[[str], None]
"""Told, in a sentence, what a person may not expect."""
TEMPLATES = Path("workflows")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_SEED_INPUTS = ("seed", "noise_seed")
_MUTED_OR_BYPASSED = (2, 4)


def read_workflow(given: str, note: Note) -> dict[str, Any] | str:
    """The workflow of a file, or the name of a template: a template's file is not sent, since the worker has its own.

    Raises:
        InvalidJobInput: there is no such file, or it is no JSON object.
    """
    path = Path(given)
    if path.is_file():
        document = read_json(path)
        if not isinstance(document, dict):
            raise InvalidJobInput([f"{given}: holds no JSON object, so it is no workflow"])
        if isinstance(document.get("input"), dict) and "class_type" not in document["input"]:
            raise InvalidJobInput([f"{given}: holds a whole job; send it with --input {given}"])
        if not _is_template(document):
            return document
        if path.resolve().parent == TEMPLATES.resolve():
            return path.stem
        note(f"{given} is a template: only its name, {document['name']!r}, is sent; the worker uses its own file.")
        return str(document["name"])
    if not _NAME.fullmatch(given):
        raise InvalidJobInput([f"{given!r}: there is no such file{_nearest(path)}"])
    known = _template_names()
    if known and given not in known:
        near = difflib.get_close_matches(given, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"here there are: {', '.join(known)}."
        note(f"No template {given!r} is in {TEMPLATES}/ ({hint}) It is sent all the same: the worker may have it.")
    return given


def read_json(path: Path) -> Any:  # noqa: ANN401
    """What is in a JSON file.

    Raises:
        InvalidJobInput: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise InvalidJobInput([f"{path}: is nested too deeply to be read"]) from error
    except (OSError, ValueError) as error:
        raise InvalidJobInput([f"{path}: cannot be read as JSON ({error})"]) from error


def is_own_workflow(workflow: object) -> bool:
    """Whether this is a workflow itself and not a template's name."""
    return isinstance(workflow, Mapping)


def seed_inputs(workflow: Mapping[str, Any]) -> list[str]:
    """``NODE.INPUT`` of every seed that has a value of its own.

    Raises:
        InvalidJobInput: some are in subgraphs, whose nodes have no number before the workflow is converted.
    """
    nodes = workflow.get("nodes")
    return list(_page_seeds(workflow, nodes) if isinstance(nodes, list) else _seeds(workflow))


def _seeds(workflow: Mapping[str, Any]) -> Iterator[str]:
    """Those of an API-format workflow: numbers, and ``"random"``; a link comes from elsewhere."""
    for node_id, node in workflow.items():
        inputs = as_object(as_object(node).get("inputs"))
        for name in _SEED_INPUTS:
            value = inputs.get(name)
            if (isinstance(value, int | float) and not isinstance(value, bool)) or value == "random":
                yield f"{node_id}.{name}"


def _page_seeds(workflow: Mapping[str, Any], nodes: list[Any]) -> Iterator[str]:
    """Those of a workflow as ComfyUI's page saves it: inputs that are a widget and are not connected."""
    for graph in as_list(as_object(workflow.get("definitions")).get("subgraphs")):
        if list(_widget_seeds(as_list(as_object(graph).get("nodes")))):
            raise InvalidJobInput(["--seed: there are seeds in subgraphs; name them: --set NODE:NODE.seed=NUMBER"])
    yield from _widget_seeds(nodes)


def _widget_seeds(nodes: list[Any]) -> Iterator[str]:
    for node in nodes:
        saved = as_object(node)
        if saved.get("mode") not in _MUTED_OR_BYPASSED:
            yield from (f"{saved.get('id')}.{slot['name']}" for slot in as_list(saved.get("inputs")) if _is_seed(slot))


def _is_seed(slot: Any) -> bool:  # noqa: ANN401 (foreign JSON)
    if not isinstance(slot, dict) or slot.get("name") not in _SEED_INPUTS:
        return False
    return slot.get("widget") is not None and slot.get("link") is None


def _is_template(document: Mapping[str, Any]) -> bool:
    """Whether this is a file of ``workflows/``: a workflow with a name (`comfypod.schema.template`)."""
    inner = document.get("workflow")
    return isinstance(document.get("name"), str) and isinstance(inner, dict) and "class_type" not in inner


def _template_names() -> list[str]:
    return sorted(path.stem for path in TEMPLATES.glob("*.json")) if TEMPLATES.is_dir() else []


def _nearest(path: Path) -> str:
    """``; did you mean …?``: the nearest files there, and templates."""
    names = [str(path.parent / file.name) for file in path.parent.glob("*.json")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(str(path), [*names, *_template_names()], n=3)
    if not near:
        near = difflib.get_close_matches(path.stem, _template_names(), n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""
