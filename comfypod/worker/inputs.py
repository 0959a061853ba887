"""What the caller sent, made ready for ComfyUI: the workflow filled in, its files where its loaders find them."""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.errors import InvalidJobInput, InvalidWorkflow
from comfypod.schema.job import InputFile, JobInput
from comfypod.schema.template import DEFAULT_TEMPLATE, load_template
from comfypod.schema.workflow import Workflow

_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


def build_workflow(request: JobInput, templates_folder: Path) -> Workflow:
    """The workflow that the request means: its own, or a template filled in.

    Raises:
        InvalidJobInput: no such template, or a parameter does not fit.
        InvalidWorkflow: the workflow is not one, or ``parameters`` names an input that it lacks.
    """
    if isinstance(request.workflow, dict):
        return Workflow.parse(request.workflow).with_inputs(request.parameters)
    parameters: dict[str, Any] = dict(request.parameters)
    if request.prompt is not None:
        parameters.setdefault("prompt", request.prompt)
    return load_template(templates_folder, request.workflow or DEFAULT_TEMPLATE).render(parameters)


def check_selection(request: JobInput, workflow: Workflow) -> None:
    """Raise `InvalidWorkflow` if outputs are asked for of a node that is not there."""
    for node_id in request.outputs.nodes or ():
        if node_id not in workflow.nodes:
            raise InvalidWorkflow(f"outputs.nodes: there is no node {node_id!r}; there is: {', '.join(workflow.nodes)}")


async def upload_files(
    http: ComfyUIHTTP, workflow: Workflow, files: Sequence[InputFile], job_id: str, maximum_bytes: int
) -> Workflow:
    """Upload the files into the job's own subfolder of ComfyUI's input folder, and let the workflow name them there.

    Raises:
        InvalidJobInput: a file is not base64, or all together are larger than ``maximum_bytes``.
    """
    contents = [(file, _decode(index, file)) for index, file in enumerate(files)]
    size_bytes = sum(len(content) for _, content in contents)
    if size_bytes > maximum_bytes:
        raise InvalidJobInput([f"files: {size_bytes:,} bytes are more than the {maximum_bytes:,} this worker accepts"])
    names: dict[str, str] = {}
    for file, content in contents:
        folder, _, name = file.name.replace("\\", "/").rpartition("/")
        subfolder = "/".join(part for part in (_subfolder(job_id), folder) if part)
        names[file.name] = await http.upload_input(name, subfolder, content)
    return workflow.with_file_names(names)


def _subfolder(job_id: str) -> str:
    """A folder name for the job: RunPod's ids are plain, but they come from outside."""
    return job_id if _PLAIN_ID.fullmatch(job_id) else uuid.uuid5(uuid.NAMESPACE_OID, job_id).hex


def _decode(index: int, file: InputFile) -> bytes:
    data = file.data or ""
    if data.startswith("data:"):
        header, comma, data = data.partition(",")
        if not comma or not header.endswith(";base64"):
            raise InvalidJobInput([f"files[{index}].data: the data URI must be base64 (data:TYPE;base64,…)"])
    if data.startswith(("http://", "https://")):
        raise InvalidJobInput([f"files[{index}].data: is an address; send the content as base64"])
    try:
        # Line breaks are common in base64; anything else that does not belong there is damage, not decoration.
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidJobInput([f"files[{index}].data: is not valid base64 ({error})"]) from error
