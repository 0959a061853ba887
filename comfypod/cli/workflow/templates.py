"""Whether a template is one that can be filled in, with every parameter that it has."""

from __future__ import annotations

from comfypod.errors import InvalidWorkflow
from comfypod.schema.template import Template
from comfypod.schema.workflow import Workflow


def template_problems(template: Template) -> list[str]:
    """Sentences about its workflow, about targets that are not there, and about defaults that do not fit."""
    try:
        workflow = Workflow.parse(template.workflow)
    except InvalidWorkflow as error:
        return [str(error)]
    problems: list[str] = []
    for name, parameter in template.parameters.items():
        if parameter.default is not None and (problem := parameter.problem(parameter.default)):
            problems.append(f"parameters.{name}.default: {problem}")
        for target in parameter.targets:
            try:
                workflow.with_inputs({target: None})
            except InvalidWorkflow as error:
                problems.append(f"parameters.{name}.targets: {error}")
    return problems
