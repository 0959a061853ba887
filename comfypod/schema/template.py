"""A template: a workflow with named, typed parameters, kept in ``workflows/NAME.json``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comfypod.errors import ConfigurationError, InvalidJobInput
from comfypod.schema.workflow import Workflow

DEFAULT_TEMPLATE = "text_to_image"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NODE_INPUT = re.compile(r"[^.]+\..+")


class Parameter(BaseModel):
    """One parameter: its type, its range, and the inputs (``NODE.INPUT``) that its value goes to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["string", "integer", "number", "boolean"]
    targets: list[str] = Field(min_length=1)
    default: str | int | float | bool | None = None
    minimum: int | float | None = None
    maximum: int | float | None = None
    multiple_of: int | None = None
    choices: list[str] | None = None
    description: str = ""

    def problem(self, value: Any) -> str | None:  # noqa: ANN401 (what a caller sent)
        """What is wrong with ``value``, as a predicate ("must be …"), or None."""
        if not _has_type(value, self.type):
            return f"must be {_ARTICLES[self.type]}, not {value!r}"
        if self.choices is not None and value not in self.choices:
            return f"must be one of {', '.join(self.choices)}, not {value!r}"
        if self.minimum is not None and value < self.minimum:
            return f"must be at least {self.minimum}, not {value}"
        if self.maximum is not None and value > self.maximum:
            return f"must be at most {self.maximum}, not {value}"
        if self.multiple_of is not None and value % self.multiple_of:
            return f"must be a multiple of {self.multiple_of}, not {value}"
        return None


_ARTICLES = {"string": "a text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}


def _has_type(value: Any, kind: str) -> bool:  # noqa: ANN401
    if kind == "string":
        return isinstance(value, str)
    if kind == "boolean":
        return isinstance(value, bool)
    # JSON's true is an int in Python, and must not pass for a number.
    numbers: tuple[type, ...] = (int,) if kind == "integer" else (int, float)
    return isinstance(value, numbers) and not isinstance(value, bool)


class Template(BaseModel):
    """A workflow that is filled in by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = ""
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    workflow: dict[str, Any]

    def render(self, parameters: Mapping[str, Any]) -> Workflow:
        """The workflow with ``parameters`` filled in: names of this template, or ``NODE.INPUT`` of its workflow.

        Raises:
            InvalidJobInput: a name is unknown (the nearest one is told), or a value does not fit.
        """
        problems = [text for name, value in parameters.items() if (text := self._problem(name, value))]
        if problems:
            raise InvalidJobInput(problems)
        values = {target: item.default for item in self.parameters.values() for target in item.targets}
        given: dict[str, Any] = {}
        for name, value in parameters.items():
            given |= dict.fromkeys(self.parameters[name].targets if name in self.parameters else [name], value)
        defaults = {target: value for target, value in values.items() if value is not None}
        return Workflow.parse(self.workflow).with_inputs(defaults | given)

    def _problem(self, name: str, value: Any) -> str | None:  # noqa: ANN401
        if name in self.parameters:
            problem = self.parameters[name].problem(value)
            return f"parameters.{name}: {problem}" if problem else None
        if _NODE_INPUT.fullmatch(name):
            return None
        near = difflib.get_close_matches(name, self.parameters, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(self.parameters)}"
        return f"parameters.{name}: the template {self.name!r} has no such parameter; {hint}"


def load_template(folder: Path, name: str) -> Template:
    """Read ``folder/name.json``.

    Raises:
        InvalidJobInput: there is no such template, or the name is not one.
        ConfigurationError: the file is not a template.
    """
    path = folder / f"{name}.json"
    if not _NAME.fullmatch(name) or not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.json"))) or "none"
        raise InvalidJobInput([f"workflow: there is no template {name[:80]!r}; templates here: {known}"])
    try:
        return Template.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ConfigurationError([f"{path} is not a template: {error}"]) from error
