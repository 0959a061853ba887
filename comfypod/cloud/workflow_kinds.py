"""What a JSON object is that somebody gives as a workflow. Pure; the client and the command line ask it alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

WorkflowKind = Literal["workflow", "ui_workflow", "template", "job", "job_input"]
"""ComfyUI's API format; what its page saves; a file of ``workflows/``; ``{"input": …}``; what is under ``input``."""


def kind_of(document: Mapping[str, Any]) -> WorkflowKind:
    """Tell by the fields that only one kind has. A node of a workflow may be called like such a field."""
    if isinstance(document.get("nodes"), list):
        return "ui_workflow"
    if "input" in document and not _is_node(document["input"]):
        return "job"
    if "workflow" in document and not _is_node(document["workflow"]):
        is_template = isinstance(document.get("name"), str) and isinstance(document["workflow"], Mapping)
        return "template" if is_template else "job_input"
    return "job_input" if isinstance(document.get("prompt"), str) else "workflow"


def _is_node(value: Any) -> bool:  # noqa: ANN401 (any JSON)
    return isinstance(value, Mapping) and "class_type" in value
