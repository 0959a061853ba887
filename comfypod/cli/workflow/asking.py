"""What an endpoint says of a workflow: its own word on what can be set, with the models and nodes that it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfypod.cli.connection import Target, connected
from comfypod.cli.output import OutputOptions
from comfypod.cli.output_choice import make_output
from comfypod.cli.workflow.document import Document
from comfypod.schema.job import JobInput
from comfypod.schema.template import DEFAULT_TEMPLATE
from comfypod.schema.wire import as_list, as_object, listed

CHOICES_SHOWN = 4


def ask_endpoint(document: Document, target: Target, *, quiet: bool) -> Mapping[str, Any]:
    """The description by a worker of the endpoint (``docs/reference/job.md``).

    Raises:
        InvalidJobInput: the document is a job whose input is not valid.
        ComfyPodError: see `Client.describe`.
    """
    workflow = JobInput.parse(document.job_input).workflow or DEFAULT_TEMPLATE
    with connected(target, make_output(OutputOptions(quiet=quiet))) as (client, check):
        told = client.describe(workflow, on_progress=lambda _: check())
    objects = {name: as_object(told.get(name)) for name in ("workflow", "parameters", "nodes")}
    return {**objects, "problems": [str(problem) for problem in as_list(told.get("problems"))]}


def inputs_by_target(description: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The inputs that it describes, by ``NODE.INPUT``."""
    return {
        f"{node_id}.{name}": as_object(item)
        for node_id, node in description["nodes"].items()
        for name, item in as_object(as_object(node).get("inputs")).items()
    }


def taken(item: Mapping[str, Any]) -> str:
    """What an input takes, in a few words; empty for one that is not described."""
    if upload := item.get("upload"):
        return "a file" if upload == "file" else f"a file with {upload}"
    if (choices := item.get("choices")) is not None:
        return f"one of {listed(as_list(choices), CHOICES_SHOWN)}" if choices else "nothing that is here"
    kind = str(item.get("type") or "")
    least, most = item.get("minimum"), item.get("maximum")
    if least is not None and most is not None:
        return f"{kind} {least} to {most}"
    bound = f" {least} or more" if least is not None else f" {most} or less" if most is not None else ""
    return kind + bound
