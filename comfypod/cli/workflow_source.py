"""The WORKFLOW of ``comfypod run``: a file in API or page format, or the name of a template."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from comfypod.cloud.workflow_kinds import kind_of
from comfypod.errors import InvalidJobInput
from comfypod.schema.wire import shortened

Note = Callable[[str], None]
"""Told, in a sentence, what a person may not expect."""
TEMPLATES = Path("workflows")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def read_workflow(given: str, note: Note) -> dict[str, Any] | str:
    """The workflow of a file, or the name of a template: a template's file is not sent, since the worker has its own.

    Raises:
        InvalidJobInput: there is no such file, or it is no JSON object.
    """
    if os.path.isfile(given):  # noqa: PTH113 (Path's raises if the text is too long for a name)
        return _read_file(given, note)
    if not _NAME.fullmatch(given):
        raise InvalidJobInput([f"{shortened(given)!r}: {_no_file(given)}"])
    known = _template_names()
    if known and given not in known:
        near = difflib.get_close_matches(given, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"here there are: {', '.join(known)}."
        note(f"No template {given!r} is in {TEMPLATES}/ ({hint}) It is sent all the same: the worker may have it.")
    return given


def _read_file(given: str, note: Note) -> dict[str, Any] | str:
    path = Path(given)
    document = read_json(path)
    if not isinstance(document, dict):
        raise InvalidJobInput([f"{given}: holds no JSON object, so it is no workflow"])
    kind = kind_of(document)
    if kind == "job":
        raise InvalidJobInput([f"{given}: holds a whole job; send it with --input {given}"])
    if kind == "job_input":
        raise InvalidJobInput([f'{given}: holds the input of a job; put {{"input": …}} around it, and use --input'])
    if kind != "template":
        return document
    if path.resolve().parent == TEMPLATES.resolve():
        return path.stem
    note(f"{given} is a template: only its name, {document['name']!r}, is sent; the worker uses its own file.")
    return str(document["name"])


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


def _template_names() -> list[str]:
    return sorted(path.stem for path in TEMPLATES.glob("*.json")) if TEMPLATES.is_dir() else []


def _no_file(given: str) -> str:
    """What a text is that is neither a file nor a name, and what was meant perhaps."""
    path = Path(given)
    if os.path.isdir(given):  # noqa: PTH112 (as above)
        return "is a folder; name a file in it"
    if given.lstrip().startswith("{"):
        return "is no file; save the workflow to one, and name that"
    is_prose = any(character.isspace() for character in given) and path.suffix != ".json"
    return f"there is no such file{'; for a text: --prompt TEXT' if is_prose else _nearest(path)}"


def _nearest(path: Path) -> str:
    """``; did you mean …?``: the nearest files there, and templates."""
    is_folder = os.path.isdir(path.parent)  # noqa: PTH112 (as above)
    names = [str(path.parent / file.name) for file in path.parent.glob("*.json")] if is_folder else []
    near = difflib.get_close_matches(str(path), [*names, *_template_names()], n=3)
    if not near:
        near = difflib.get_close_matches(path.stem, _template_names(), n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""
