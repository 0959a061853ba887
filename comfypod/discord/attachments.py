"""Files that people attach: what Discord says of them is checked here, their content by the worker. Pure.

The worker fetches them from Discord's own servers, within its limits, and refuses what is not what its name says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from comfypod.errors import InvalidJobInput
from comfypod.schema.template import Template

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}$")
_KINDS = ("image/", "video/", "audio/")


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file for a parameter: the name that the job knows it by, and where it is."""

    parameter: str
    name: str
    url: str


def attached_files(
    template: Template,
    parameters: Mapping[str, Any],
    attachments: Mapping[str, Mapping[str, Any]],
    limit_bytes: int,
    hosts: Sequence[str],
) -> list[AttachedFile]:
    """The files that the parameters name by the identifiers of attachments.

    Raises:
        InvalidJobInput: one is too large, no picture, video or sound, or not where Discord's files are.
    """
    names = [name for name, item in template.parameters.items() if item.type == "file" and name in parameters]
    found = [(name, attachments.get(str(parameters[name])) or {}) for name in names]
    problems = [text for name, item in found if (text := _problem(name, item, limit_bytes, hosts))]
    if problems:
        raise InvalidJobInput(problems)
    return [AttachedFile(name, name + _suffix(str(item["filename"])), str(item["url"])) for name, item in found]


def _problem(name: str, item: Mapping[str, Any], limit_bytes: int, hosts: Sequence[str]) -> str | None:
    if not item or int(item.get("size") or 0) <= 0:
        return f"{name}: attach a file"
    if int(item["size"]) > limit_bytes:
        return f"{name}: at most {limit_bytes / 1e6:.0f} MB are taken, and this file has {item['size'] / 1e6:.1f} MB"
    if not str(item.get("content_type") or "").startswith(_KINDS):
        return f"{name}: attach a picture, a video or a sound"
    if urlsplit(str(item.get("url"))).netloc not in hosts:
        return f"{name}: this file does not lie at Discord"
    return None


def _suffix(filename: str) -> str:
    found = _SUFFIX.search(filename)
    return found[0].lower() if found else ".png"
