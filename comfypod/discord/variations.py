"""What the buttons below a result ask for: the same again, with another seed, or larger. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from comfypod.discord.commands import file_parameter, seeds_of
from comfypod.discord.results import artifacts_of
from comfypod.master.documents import Request
from comfypod.schema.template import Template
from comfypod.schema.workflow import RANDOM


def repeated(job_input: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """The same once more, with the seeds that were drawn: the same picture, or another try at what failed."""
    drawn = (request.output or {}).get("seeds") or {}
    return {**job_input, "parameters": {**job_input["parameters"], **drawn}}


def varied(job_input: Mapping[str, Any], template: Template) -> dict[str, Any]:
    """The same with seeds that are drawn anew."""
    drawn = dict.fromkeys(seeds_of(template), RANDOM)
    return {**job_input, "parameters": {**job_input["parameters"], **drawn}}


def upscaled(
    request: Request, template: Template, address: Callable[[Mapping[str, Any]], str]
) -> dict[str, Any] | None:
    """A job that makes the first picture of a result larger; None if there is no picture."""
    name = file_parameter(template)
    pictures = [item for item in artifacts_of(request.output or {}) if item["content_type"].startswith("image/")]
    if name is None or not pictures:
        return None
    filename = str(pictures[0]["filename"])
    return {
        "workflow": template.name,
        "parameters": {name: filename},
        "files": [{"name": filename, "url": address(pictures[0])}],
        "progress": {"previews": True},
    }
