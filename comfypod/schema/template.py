"""A template: a workflow with named, typed parameters, kept in ``workflows/NAME.json``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comfypod.errors import ConfigurationError, InvalidJobInput
from comfypod.schema.wire import shortened
from comfypod.schema.workflow import RANDOM, DrawSeed, Workflow

DEFAULT_TEMPLATE = "text_to_image"
LARGEST_SEED = 2**64 - 1

_FOLDERS = (
    Path("workflows"),
    Path(__file__).parents[1] / "workflows",  # in the wheel
    Path(__file__).parents[2] / "workflows",  # in a checkout
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NODE_INPUT = re.compile(r"[^.]+\..+")


class Parameter(BaseModel):
    """One parameter: its type, its range, and the inputs (``NODE.INPUT``) that its value goes to.

    A ``seed`` is a whole number or ``"random"``; a ``file`` the name of one of the job's files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["string", "integer", "number", "boolean", "seed", "file"]
    targets: list[str] = Field(min_length=1)
    default: str | int | float | bool | None = None
    minimum: int | float | None = None
    maximum: int | float | None = None
    multiple_of: int | None = None
    choices: list[str] | None = None
    description: str = ""

    def problem(self, value: Any) -> str | None:  # noqa: ANN401 (what a caller sent)
        """What is wrong with ``value``, as a predicate ("must be …"), or None."""
        if self.type == "seed" and value == RANDOM:
            return None
        if not _has_type(value, self.type):
            return f"must be {_ARTICLES[self.type]}, not {shortened(repr(value))}"
        if self.choices is not None and value not in self.choices:
            return f"must be one of {', '.join(self.choices)}, not {shortened(repr(value))}"
        return None if isinstance(value, str) else self._range_problem(value)

    def _range_problem(self, value: float) -> str | None:
        least, most = (0, LARGEST_SEED) if self.type == "seed" else (self.minimum, self.maximum)
        if least is not None and value < least:
            return f"must be at least {least}, not {value}"
        if most is not None and value > most:
            return f"must be at most {most}, not {value}"
        if self.multiple_of is not None and value % self.multiple_of:
            return f"must be a multiple of {self.multiple_of}, not {value}"
        return None


_ARTICLES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "seed": f'a whole number or "{RANDOM}"',
    "file": "the name of one of the job's files",
}


def _has_type(value: Any, kind: str) -> bool:  # noqa: ANN401
    if kind in {"string", "file"}:
        return isinstance(value, str)
    if kind == "boolean":
        return isinstance(value, bool)
    # JSON's true is an int in Python, and must not pass for a number.
    numbers: tuple[type, ...] = (int, float) if kind == "number" else (int,)
    return isinstance(value, numbers) and not isinstance(value, bool)


class Template(BaseModel):
    """A workflow that is filled in by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = ""
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    workflow: dict[str, Any]

    def render(self, parameters: Mapping[str, Any], draw: DrawSeed) -> Workflow:
        """The workflow with ``parameters`` filled in: names of this template, or ``NODE.INPUT`` of its workflow.

        A random seed is drawn once, under the parameter's name, for all inputs that it goes to.

        Raises:
            InvalidJobInput: a name is unknown (the nearest one is told), or a value does not fit.
        """
        problems = [text for name, value in parameters.items() if (text := self._problem(name, value))]
        if problems:
            raise InvalidJobInput(problems)
        defaults = {name: item.default for name, item in self.parameters.items() if item.default is not None}
        values: dict[str, Any] = {}
        for name, value in {**defaults, **parameters}.items():
            item = self.parameters.get(name)
            chosen = draw(name) if item is not None and item.type == "seed" and value == RANDOM else value
            values |= dict.fromkeys(item.targets if item else [name], chosen)
        return Workflow.parse(self.workflow).with_inputs(values)

    def _problem(self, name: str, value: Any) -> str | None:  # noqa: ANN401
        if name in self.parameters:
            problem = self.parameters[name].problem(value)
            return f"parameters.{name}: {problem}" if problem else None
        if _NODE_INPUT.fullmatch(name):
            return None
        name = shortened(name)
        near = difflib.get_close_matches(name, self.parameters, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(self.parameters)}"
        return f"parameters.{name}: the template {self.name!r} has no such parameter; {hint}"


def templates_folder() -> Path:
    """Where a front end's templates are: ``workflows/`` where it was started, else those that came along."""
    return next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])


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
