"""What a history entry says that a prompt left: files and texts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from comfypod.schema.output import TextOutput
from comfypod.schema.wire import as_list, as_object
from comfypod.schema.workflow import Workflow


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that a node left: ``type`` is the folder, "output" or "temp"; ``index`` counts a node's files from 0."""

    node_id: str
    index: int
    filename: str
    subfolder: str
    type: str


@dataclass(frozen=True, slots=True)
class PromptResult:
    """What a prompt left, in the workflow's node order; ``node_errors`` are of nodes that ComfyUI did not run."""

    files: Sequence[OutputFile]
    texts: Sequence[TextOutput]
    node_errors: Mapping[str, Any] = field(default_factory=dict)


def collect_outputs(
    entry: Mapping[str, Any], workflow: Workflow, node_errors: Mapping[str, Any] | None = None
) -> PromptResult:
    """Collect every list element that names a file, and keep the rest as data, whatever the key is."""
    outputs, meta = as_object(entry.get("outputs")), as_object(entry.get("meta"))
    position = {node_id: index for index, node_id in enumerate(workflow.nodes)}
    visible = [(_visible_id(node_id, meta), shown) for node_id, shown in outputs.items() if isinstance(shown, dict)]
    visible.sort(key=lambda item: position.get(item[0], len(position)))
    files: list[OutputFile] = []
    texts: list[TextOutput] = []
    for node_id, shown in visible:
        for key, value in _shown_values(shown):
            if isinstance(value, dict) and "filename" in value and "type" in value:
                _add(files, _output_file(node_id, 0, value))
            elif key != "animated":  # a flag beside the files of SaveAnimatedWEBP, SaveVideo …
                texts.append(TextOutput(node_id, key, value))
    return PromptResult(files, texts, node_errors or {})


def _add(files: list[OutputFile], file: OutputFile) -> None:
    """Add a file of a node, which may tell of it under several keys, with the number that it has among the node's."""
    mine = [other for other in files if other.node_id == file.node_id]
    if all(replace(other, index=0) != file for other in mine):
        files.append(replace(file, index=len(mine)))


def _visible_id(node_id: str, meta: Mapping[str, Any]) -> str:
    """The id a person sees: nodes expanded at run time have ids such as ``1.0.0.3``, and their display node in meta."""
    entry = meta.get(node_id)
    display = entry.get("display_node") if isinstance(entry, dict) else None
    return str(display or node_id)


def _shown_values(shown: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, values in shown.items():
        for value in as_list(values):
            yield key, value


def _output_file(node_id: str, index: int, value: Mapping[str, Any]) -> OutputFile:
    return OutputFile(node_id, index, str(value["filename"]), str(value.get("subfolder") or ""), str(value["type"]))
