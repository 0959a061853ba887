"""What a row's parameters are put into: a template, by its name or from a file, or a workflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from comfypod.batch.manifest.facts import Fillable
from comfypod.batch.manifest.reading import Place
from comfypod.errors import InvalidJobInput, InvalidWorkflow
from comfypod.schema.template import Template
from comfypod.schema.workflow import ALL_SEEDS, RANDOM, SEED_INPUTS, Workflow

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_PROBE: Final = object()


def canonical(document: Any) -> bytes:  # noqa: ANN401 (any JSON)
    """The one way in which a JSON document is written here: what is equal has the same bytes."""
    return _encode(document).encode("utf-8", "surrogatepass")


def digest_of(document: Any) -> str:  # noqa: ANN401 (any JSON)
    """By which equal documents are known."""
    return hashlib.sha256(canonical(document)).hexdigest()[:32]


class Form(Fillable, Protocol):
    """What parameters are put into. ``workflow`` is the job's; ``digest`` is of all that it says."""

    workflow: dict[str, Any] | str
    digest: str

    def problems(self, parameters: Mapping[str, Any]) -> Sequence[str]:
        """What is wrong with the parameters: ``where: what``."""

    def seeds_to_draw(self, parameters: Mapping[str, Any]) -> Sequence[str]:
        """Names of the parameters that make every random seed a definite one."""

    def job_parameters(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of the job that is sent."""

    def typed(self, name: str, text: str) -> Any:  # noqa: ANN401 (any JSON)
        """The value that a text in a table means, as a parameter of that name."""

    def files(self) -> Mapping[str, str]:
        """Parameters that name one of the job's files, each with the name it has without the parameter."""


class WorkflowForm:
    """A workflow in ComfyUI's API format."""

    def __init__(self, workflow: Workflow, digest: str | None = None) -> None:
        self.workflow: dict[str, Any] | str = dict(workflow.nodes)
        self.digest = digest or digest_of(workflow.nodes)
        self._workflow = workflow
        self._fit: set[str] = set()
        self._readers: dict[str, Callable[[str], Any]] = {}
        self._random = [
            f"{node_id}.{name}"
            for node_id, node in workflow.nodes.items()
            for name in SEED_INPUTS
            if node["inputs"].get(name) == RANDOM
        ]

    def filled(self, parameters: Mapping[str, Any]) -> Workflow:
        """The workflow with these values."""
        return self._workflow.with_inputs(parameters) if parameters else self._workflow

    def places(self, name: str) -> frozenset[Place]:
        """The inputs that a value of this name goes to."""
        return _probed(self._workflow, [name])

    def problems(self, parameters: Mapping[str, Any]) -> Sequence[str]:
        """What does not fit; names that fitted once are not looked at again."""
        if parameters.keys() <= self._fit:
            return ()
        try:
            self.filled(parameters)
        except InvalidWorkflow as error:
            return [f"parameters: {error}"]
        self._fit |= parameters.keys()
        return ()

    def seeds_to_draw(self, parameters: Mapping[str, Any]) -> Sequence[str]:
        """Seeds that are ``random``: given so, or written so."""
        given = [name for name, value in parameters.items() if value == RANDOM and _is_seed(name)]
        return (
            given if ALL_SEEDS in parameters else [*given, *(name for name in self._random if name not in parameters)]
        )

    def job_parameters(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Sent as they are."""
        return dict(parameters)

    def typed(self, name: str, text: str) -> Any:  # noqa: ANN401 (any JSON)
        """The text, number or truth value that it stands for."""
        if name not in self._readers:
            self._readers[name] = _number if _is_seed(name) else self._reader(name)
        return self._readers[name](text)

    def _reader(self, name: str) -> Callable[[str], Any]:
        """Texts become what the input holds in the workflow as it is written."""
        places = () if self.problems({name: ""}) else self.places(name)
        values = [self._workflow.nodes[node_id]["inputs"][place] for node_id, place in places]
        if any(isinstance(value, bool) for value in values):
            return _truth
        return str if all(isinstance(value, str) for value in values) else _number

    def files(self) -> Mapping[str, str]:
        """None that is known: what a node loads is written in it."""
        return {}


class TemplateForm:
    """A template of the worker's own, which is sent by its name."""

    def __init__(self, template: Template, name: str) -> None:
        self.workflow: dict[str, Any] | str = name
        # All that decides what is made: not what is said about it.
        parameters = {key: [item.targets, item.default] for key, item in template.parameters.items()}
        self.digest = digest_of([template.workflow, parameters])
        self._template = template
        self._workflow = Workflow.parse(template.workflow)
        self._fit: set[str] = set()
        self._random_by_default = [
            key for key, item in template.parameters.items() if item.type == "seed" and item.default == RANDOM
        ]
        self._free_texts = {
            key for key, item in template.parameters.items() if item.type == "string" and item.choices is None
        }
        targets = {target for item in template.parameters.values() for target in item.targets}
        self._written = WorkflowForm(self._workflow, self.digest)
        self._random = [name for name in self._written.seeds_to_draw({}) if name not in targets]

    def filled(self, parameters: Mapping[str, Any]) -> Workflow:
        """The workflow with these values."""
        return self._template.render(parameters, lambda _: 0)

    def places(self, name: str) -> frozenset[Place]:
        """The inputs that a value of this name goes to."""
        item = self._template.parameters.get(name)
        return _probed(self._workflow, item.targets if item else [name])

    def problems(self, parameters: Mapping[str, Any]) -> Sequence[str]:
        """What does not fit; names that fitted once are not looked at again."""
        known = self._template.parameters
        for name, value in parameters.items():
            if name not in self._fit:
                return self._problems(parameters)
            if type(value) is str and name in self._free_texts:
                continue
            if (item := known.get(name)) is not None and item.problem(value):
                return self._problems(parameters)
        return ()

    def _problems(self, parameters: Mapping[str, Any]) -> Sequence[str]:
        try:
            self.filled(parameters)
        except InvalidJobInput as error:
            return error.problems
        except InvalidWorkflow as error:
            return [f"parameters: {error}"]
        self._fit |= parameters.keys()
        return ()

    def seeds_to_draw(self, parameters: Mapping[str, Any]) -> Sequence[str]:
        """Seeds that are ``random``: given so, or written so."""
        given = [name for name, value in parameters.items() if value == RANDOM and self._is_seed(name)]
        others = [name for name in (*self._random_by_default, *self._random) if name not in parameters]
        return given + others

    def _is_seed(self, name: str) -> bool:
        item = self._template.parameters.get(name)
        return _is_seed(name) if item is None else item.type == "seed"

    def job_parameters(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Sent as they are."""
        return dict(parameters)

    def typed(self, name: str, text: str) -> Any:  # noqa: ANN401 (any JSON)
        """The text, number or truth value that it stands for."""
        item = self._template.parameters.get(name)
        if item is None:
            return self._written.typed(name, text)
        if item.type == "boolean":
            return _truth(text)
        return text if item.type in {"string", "file"} else _number(text)

    def files(self) -> Mapping[str, str]:
        """A parameter's own name for the file is that of its default, else what the workflow has there."""
        found = {}
        for name, item in self._template.parameters.items():
            if item.type == "file":
                values = [self._workflow.nodes[node_id]["inputs"][place] for node_id, place in self.places(name)]
                found[name] = str(item.default or next(iter(values), ""))
        return found


class TemplateFileForm(TemplateForm):
    """A template that workers need not have: its workflow is sent, with values for all inputs that it names."""

    def __init__(self, template: Template) -> None:
        super().__init__(template, template.name)
        self.workflow = dict(template.workflow)

    def job_parameters(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Values by node and input, for workers that do not know the template."""
        known = self._template.parameters
        defaults = {name: item.default for name, item in known.items() if item.default is not None}
        return {
            target: value
            for name, value in {**defaults, **parameters}.items()
            for target in (known[name].targets if name in known else [name])
        }


def _probed(workflow: Workflow, targets: Sequence[str]) -> frozenset[Place]:
    """The places that values of these names end up in."""
    filled = workflow.with_inputs(dict.fromkeys(targets, _PROBE))
    return frozenset(_probes(filled))


def _probes(workflow: Workflow) -> Iterator[Place]:
    for node_id, node in workflow.nodes.items():
        yield from ((node_id, name) for name, value in node["inputs"].items() if value is _PROBE)


def _is_seed(name: str) -> bool:
    return name.rpartition(".")[2] in SEED_INPUTS


def _number(text: str) -> int | float | str:
    """The number that a text is; else the text, of which its parameter will say what is wrong."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _truth(text: str) -> bool | str:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    return words.get(text.strip().lower(), text)
