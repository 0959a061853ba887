"""A workflow rewritten so that its job touches its own folders only: what it loads, what it saves, what ComfyUI caches.

Every job has a folder of its own, of the same name, in ComfyUI's input and output folders. Pure.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from comfypod.comfyui.catalogue import Catalogue
from comfypod.errors import InvalidWorkflow
from comfypod.schema.wire import shortened
from comfypod.schema.workflow import Workflow

PREFIX_INPUT = "filename_prefix"
"""The input by which all of ComfyUI's saving nodes, and most others, are told where to save."""
MARK_INPUT = "comfypod_job"
"""An input that no node has: nodes are not given it, and ComfyUI's cache takes it into account."""


def with_own_outputs(workflow: Workflow, folder: str, catalogue: Catalogue) -> Workflow:
    """A copy that saves below ``folder`` of ComfyUI's output folder, and saves anew each time.

    A node that ComfyUI finds in its cache names the files of an earlier run, which are deleted by then. A name of its
    own for each job keeps saving nodes out of the cache; output nodes without such a name get a mark.

    Raises:
        InvalidWorkflow: a node would save outside its folder, or load what another job left.
    """
    nodes: dict[str, dict[str, Any]] = copy.deepcopy({key: dict(node) for key, node in workflow.nodes.items()})
    for node_id, node in nodes.items():
        inputs = node["inputs"]
        inputs.pop(MARK_INPUT, None)
        _check_loads(node_id, node, catalogue)
        if node["class_type"] == "SaveImageWebsocket":
            # What a websocket carries is lost with the connection; a file is not.
            node.update(class_type="SaveImage", inputs={**inputs, PREFIX_INPUT: "websocket"})
            inputs = node["inputs"]
        if isinstance(inputs.get(PREFIX_INPUT), str):
            inputs[PREFIX_INPUT] = f"{folder}/{_plain_prefix(node_id, inputs[PREFIX_INPUT])}"
        elif catalogue.is_output_node(str(node["class_type"])):
            inputs[MARK_INPUT] = folder
    return Workflow(nodes)


def with_own_inputs(workflow: Workflow, names: Mapping[str, str]) -> Workflow:
    """A copy in which inputs that name a file of the job name it where it lies.

    A file is named as in ``files``, also with ComfyUI's `` [input]`` behind or ``input/`` before it. ``names`` maps the
    former to the latter.
    """
    forms = {form: placed for name, placed in names.items() for form in (f"{name} [input]", f"input/{name}")}
    known = {**forms, **names}  # a file's own name comes first
    return workflow.with_values({(node, key): known[text] for node, key, text in workflow.texts() if text in known})


def files_in_lists(workflow: Workflow, catalogue: Catalogue, names: frozenset[str]) -> frozenset[str]:
    """Those of ``names`` that a node takes from a list without an upload button.

    Such a list shows the input folder itself and not what is in folders below it, so the file must lie there.
    """
    return frozenset(
        text
        for node_id, key, text in workflow.texts()
        if text in names and _is_plain_list(catalogue, workflow.class_type(node_id), key)
    )


def unused_files(workflow: Workflow, names: Mapping[str, str]) -> list[str]:
    """The files that no input names."""
    used = {text for _, _, text in workflow.texts()}
    return [name for name in names if not used & {name, f"{name} [input]", f"input/{name}"}]


def saving_node(workflow: Workflow, name: str) -> str:
    """The node that saved ``name`` (a path below the output folder): its prefix says so. Empty if none does."""
    # What stands between % is filled in by ComfyUI.
    prefixes = {node_id: text.partition("%")[0] for node_id, key, text in workflow.texts() if key == PREFIX_INPUT}
    mine = [node_id for node_id, prefix in prefixes.items() if name.startswith(prefix)]
    return max(mine, key=lambda node_id: len(prefixes[node_id]), default="")


def _is_plain_list(catalogue: Catalogue, class_type: str | None, name: str) -> bool:
    item = catalogue.inputs(class_type or "").get(name)
    return item is not None and item.choices is not None and not item.is_upload


def _check_loads(node_id: str, node: Mapping[str, Any], catalogue: Catalogue) -> None:
    """Refuse what would load a file that is not the job's, where a node chooses a file of the input folder.

    ComfyUI does not hold such names to its folders (``folder_paths.py``, ``annotated_filepath``).
    """
    for name, item in catalogue.inputs(str(node["class_type"])).items():
        value = node["inputs"].get(name)
        is_chosen = item.is_upload or item.choices is not None
        if not isinstance(value, str) or not is_chosen or value in (item.choices or ()):
            continue
        path = PurePosixPath(value.replace("\\", "/"))
        if value.endswith(("[output]", "[temp]")) or path.is_absolute() or ".." in path.parts:
            problem = f"{name} names a file outside the job's own ({shortened(value)!r}); send the file in files"
            raise InvalidWorkflow(problem, node_id)


def _plain_prefix(node_id: str, prefix: str) -> str:
    """The prefix, which must stay below the job's folder."""
    path = PurePosixPath(prefix.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise InvalidWorkflow(f"{PREFIX_INPUT} {shortened(prefix)!r} leads out of the output folder", node_id)
    return str(path) if path.parts else "ComfyUI"
