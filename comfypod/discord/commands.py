"""Templates as Discord's slash commands, and what somebody typed as a template's parameters. Pure.

Limits of Discord's (docs.discord.com, Application Commands): 25 options, 25 choices, names of 32 and descriptions of
100 characters, numbers up to 2^53, required options first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from comfypod.errors import InvalidJobInput
from comfypod.schema.template import DEFAULT_TEMPLATE, Parameter, Template

DEFAULT_COMMAND = "serve"
"""The command of the default template; every other is called as its template."""
MOST_OPTIONS = 25
MOST_CHOICES = 25
LONGEST_NAME = 32
LONGEST_DESCRIPTION = 100
LONGEST_CHOICE = 100
LONGEST_TEXT = 2000
LARGEST_NUMBER = 2**53
SLASH_COMMAND, GUILD_CONTEXT = 1, 0

_STRING, _INTEGER, _BOOLEAN, _NUMBER, _ATTACHMENT = 3, 4, 5, 10, 11
_TYPES = {
    "string": _STRING,
    "integer": _INTEGER,
    "number": _NUMBER,
    "boolean": _BOOLEAN,
    "seed": _INTEGER,
    "file": _ATTACHMENT,
}
_NOT_IN_NAMES = re.compile(r"[^a-z0-9_-]")


def command_name(template: Template) -> str:
    """What people type after the slash."""
    return DEFAULT_COMMAND if template.name == DEFAULT_TEMPLATE else _as_name(template.name)


def command_document(template: Template) -> dict[str, Any]:
    """The command as it is registered: usable in servers only, where somebody is accountable."""
    return {
        "name": command_name(template),
        "type": SLASH_COMMAND,
        "description": _described(template.description or f"Run {template.name}"),
        "contexts": [GUILD_CONTEXT],
        "options": [_option(name, item) for name, item in _offered(template)],
    }


def parameters_of(template: Template, options: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What was typed, by the template's own names; of a file, the identifier of the attachment.

    Raises:
        InvalidJobInput: the command has changed since Discord was told of it.
    """
    names = {_as_name(name): name for name, _ in _offered(template)}
    unknown = [str(option["name"]) for option in options if option["name"] not in names]
    if unknown:
        raise InvalidJobInput([f"{name}: this option is no longer there; type the command anew" for name in unknown])
    return {names[option["name"]]: option["value"] for option in options}


def main_text(template: Template, parameters: Mapping[str, Any]) -> str:
    """What a person recognises a request by: its prompt, or the first text of it."""
    texts = texts_of(template, parameters)
    return texts.get("prompt") or next(iter(texts.values()), "") or template.name


def texts_of(template: Template, parameters: Mapping[str, Any]) -> dict[str, str]:
    """The texts that somebody wrote, and that the content rules apply to.

    Not what a picture must not show: there, words that are refused elsewhere do good.
    """
    kinds = {name: item.type for name, item in template.parameters.items()}
    written = {name: value for name, value in parameters.items() if kinds.get(name) == "string"}
    return {name: value for name, value in written.items() if isinstance(value, str) and "negative" not in name}


def seeds_of(template: Template) -> list[str]:
    """The names of its seeds."""
    return [name for name, item in template.parameters.items() if item.type == "seed"]


def file_parameter(template: Template) -> str | None:
    """The one file that a template works on; None if there is none, or several."""
    files = [name for name, item in template.parameters.items() if item.type == "file"]
    return files[0] if len(files) == 1 else None


def _offered(template: Template) -> list[tuple[str, Parameter]]:
    """The parameters that become options: what is required, then the rest in the template's own order."""
    items = sorted(template.parameters.items(), key=lambda pair: not _is_required(*pair))
    return items[:MOST_OPTIONS]


def _is_required(name: str, parameter: Parameter) -> bool:
    return name == "prompt" or (parameter.type == "file" and parameter.default is None)


def _option(name: str, parameter: Parameter) -> dict[str, Any]:
    option: dict[str, Any] = {
        "type": _TYPES[parameter.type],
        "name": _as_name(name),
        "description": _described(_explained(name, parameter)),
        "required": _is_required(name, parameter),
    }
    if parameter.type in {"integer", "number", "seed"}:
        return option | _bounds(parameter)
    if parameter.type != "string":
        return option
    choices = parameter.choices or []
    if choices and len(choices) <= MOST_CHOICES and all(0 < len(item) <= LONGEST_CHOICE for item in choices):
        return option | {"choices": [{"name": item, "value": item} for item in choices]}
    return option | {"max_length": LONGEST_TEXT}


def _bounds(parameter: Parameter) -> dict[str, Any]:
    least, most = (0, LARGEST_NUMBER) if parameter.type == "seed" else (parameter.minimum, parameter.maximum)
    bounds = {"min_value": least, "max_value": most}
    return {name: bound for name, bound in bounds.items() if bound is not None and abs(bound) <= LARGEST_NUMBER}


def _explained(name: str, parameter: Parameter) -> str:
    """What a person is told beside the option."""
    said = parameter.description or name.replace("_", " ").capitalize()
    if parameter.multiple_of:
        said += f" (a multiple of {parameter.multiple_of})"
    if parameter.type == "seed":
        return f"{said}; drawn if left out"
    known = parameter.default not in {None, ""} and parameter.type != "file" and not _is_required(name, parameter)
    return f"{said}; {parameter.default} if left out" if known else said


def _described(text: str) -> str:
    text = " ".join(text.split()) or "…"
    return text if len(text) <= LONGEST_DESCRIPTION else text[: LONGEST_DESCRIPTION - 1] + "…"


def _as_name(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name.lower())[:LONGEST_NAME]
