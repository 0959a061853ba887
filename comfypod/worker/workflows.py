"""From what a caller asked for to the workflow that it means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfypod.comfyui.catalogue import Catalogue
from comfypod.comfyui.ui_format.conversion import convert_ui_workflow, is_ui_format
from comfypod.errors import InvalidWorkflow
from comfypod.schema.job import JobInput
from comfypod.schema.template import DEFAULT_TEMPLATE, Parameter, load_template
from comfypod.schema.wire import listed, shortened
from comfypod.schema.workflow import DrawSeed, Workflow


def ui_workflow(request: JobInput) -> Mapping[str, Any] | None:
    """The request's workflow if it is what ComfyUI's page saves; it takes the server's catalogue to run it."""
    return request.workflow if isinstance(request.workflow, dict) and is_ui_format(request.workflow) else None


def build_workflow(request: JobInput, templates_folder: Path, draw: DrawSeed) -> Workflow:
    """The workflow that the request means: its own, or a template filled in; random seeds are drawn.

    Raises:
        InvalidJobInput: no such template, or a parameter does not fit.
        InvalidWorkflow: the workflow is not one, or ``parameters`` or ``outputs`` name what it lacks.
    """
    if isinstance(request.workflow, dict):
        return _filled_in(Workflow.parse(request.workflow), request, draw)
    parameters: dict[str, Any] = dict(request.parameters)
    if request.prompt is not None:
        parameters.setdefault("prompt", request.prompt)
    template = load_template(templates_folder, request.workflow or DEFAULT_TEMPLATE)
    return _checked(template.render(parameters, draw).with_seeds(draw), request)


def unfilled_workflow(request: JobInput, templates_folder: Path) -> tuple[Workflow, Mapping[str, Parameter]]:
    """The workflow as it was written, and the parameters by which it is filled in if it is a template's.

    Raises:
        InvalidJobInput: no such template.
        InvalidWorkflow: the workflow is not one.
    """
    if isinstance(request.workflow, dict):
        return Workflow.parse(request.workflow), {}
    template = load_template(templates_folder, request.workflow or DEFAULT_TEMPLATE)
    return Workflow.parse(template.workflow), template.parameters


def convert_workflow(request: JobInput, catalogue: Catalogue, draw: DrawSeed) -> Workflow:
    """The same for a workflow that ComfyUI's page saved.

    Raises:
        InvalidWorkflow: it cannot be converted; why, and what to do, node by node.
    """
    document = convert_ui_workflow(ui_workflow(request) or {}, catalogue.object_info)
    return _filled_in(Workflow.parse(document), request, draw)


def _filled_in(workflow: Workflow, request: JobInput, draw: DrawSeed) -> Workflow:
    return _checked(workflow.with_inputs(request.parameters).with_seeds(draw), request)


def _checked(workflow: Workflow, request: JobInput) -> Workflow:
    """The workflow, if it has the nodes whose outputs are asked for."""
    for node_id in request.outputs.nodes or ():
        if node_id not in workflow.nodes:
            known = listed(workflow.nodes)
            raise InvalidWorkflow(f"outputs.nodes: there is no node {shortened(node_id)!r}; there is: {known}")
    return workflow
