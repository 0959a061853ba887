"""What ``POST /prompt`` refuses, and with which words: the rules of ComfyUI 0.8.0.

Pure apart from asking the catalog for choices. Each message, each key and each place where ComfyUI crashes with a 500
was taken from recordings of 0.8.0. A chain of nodes is walked with a stack of generators, not by recursion, so that the
depth limit is ours and the same on every Python.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfypod.emulator.engine.graph import Json, Workflow, declared_inputs
from comfypod.emulator.nodes.base import Catalog, Input, NodeClass

# ComfyUI recurses, and 0.8.0 on Python 3.11 gave up after this many nodes in a row.
LONGEST_CHAIN = 970
# Above this number of choices ComfyUI names only how many there are.
LONGEST_LISTED_CHOICES = 20

_CONVERTERS: Mapping[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}

ErrorReport = dict[str, Any]


class RequestCrashError(Exception):
    """ComfyUI has no check for this request: its handler raises, and the answer is a bare 500."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for one workflow. ``error`` is None if at least one output node may run."""

    outputs: tuple[str, ...]
    error: ErrorReport | None
    node_errors: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _NodeReport:
    valid: bool
    errors: list[ErrorReport]


@dataclass(frozen=True, slots=True)
class _Upstream:
    """A request to validate the node behind a link before going on."""

    node_id: str
    input_name: str
    input_config: list[Any]
    link: list[Any]


_Walk = Generator[_Upstream, bool, _NodeReport]


def validate_workflow(
    workflow: Json, node_classes: Mapping[str, NodeClass], catalog: Catalog, targets: Json = None
) -> Verdict:
    """Check a workflow and convert its literal values to their declared types, in place.

    ``targets`` are the ``partial_execution_targets`` of the request: output nodes to which the run is confined.

    Raises:
        RequestCrashError: the workflow has a shape that ComfyUI answers with a bare 500.
    """
    try:
        found = _find_outputs(workflow, node_classes, targets)
    except TypeError as error:
        raise RequestCrashError(str(error)) from error
    if isinstance(found, Verdict):
        return found
    validator = _WorkflowValidator(workflow, node_classes, catalog)
    return validator.verdict(found)


def no_prompt() -> Verdict:
    """Return the verdict on a request that has no ``prompt``."""
    return _refusal("no_prompt", "No prompt provided", "No prompt provided")


def _refusal(kind: str, message: str, details: str, node_errors: dict[str, Any] | None = None) -> Verdict:
    error = {"type": kind, "message": message, "details": details, "extra_info": {}}
    return Verdict((), error, node_errors or {})


def _find_outputs(workflow: Json, node_classes: Mapping[str, NodeClass], targets: Json) -> list[str] | Verdict:
    """Return the ids of the output nodes, or the refusal; a TypeError is ComfyUI's own crash."""
    outputs = []
    for node_id, node in _nodes(workflow).items():
        details = f"Node ID '#{node_id}'"
        if "class_type" not in node:
            message = "Cannot execute because a node is missing the class_type property."
            return _refusal("invalid_prompt", message, details)
        class_type = node["class_type"]
        node_class = node_classes.get(class_type)
        if node_class is None:
            return _refusal("invalid_prompt", f"Cannot execute because node {class_type} does not exist.", details)
        if node_class.output_node and (targets is None or node_id in targets):
            outputs.append(node_id)
    return outputs or _refusal("prompt_no_outputs", "Prompt has no outputs", "")


def _nodes(workflow: Json) -> Mapping[str, Any]:
    if isinstance(workflow, dict):
        return workflow
    if workflow in ([], ""):
        return {}
    raise TypeError("the workflow is not an object")


class _WorkflowValidator:
    """Walks from the output nodes upwards; every node is judged once."""

    def __init__(self, workflow: Workflow, node_classes: Mapping[str, NodeClass], catalog: Catalog) -> None:
        self._workflow = workflow
        self._node_classes = node_classes
        self._catalog = catalog
        self._reports: dict[str, _NodeReport] = {}

    def verdict(self, outputs: Sequence[str]) -> Verdict:
        """Judge every output node. Invalid ones are dropped silently as long as one is valid."""
        accepted: list[str] = []
        reasons: list[str] = []
        node_errors: dict[str, Any] = {}
        for output in outputs:
            report = self._judge(output)
            if report.valid:
                accepted.append(output)
                continue
            reasons += [f"{error['message']}: {error['details']}" for error in report.errors]
            self._collect(output, node_errors)
        if accepted:
            return Verdict(tuple(accepted), None, node_errors)
        message = "Prompt outputs failed validation"
        return _refusal("prompt_outputs_failed_validation", message, "\n".join(reasons), node_errors)

    def _collect(self, output: str, node_errors: dict[str, Any]) -> None:
        # ComfyUI books every node found faulty so far on this output, also those above another one.
        for node_id, report in self._reports.items():
            if report.valid or not report.errors:
                continue
            class_type = self._workflow[node_id]["class_type"]
            empty = {"errors": report.errors, "dependent_outputs": [], "class_type": class_type}
            node_errors.setdefault(node_id, empty)["dependent_outputs"].append(output)

    def _judge(self, output: str) -> _NodeReport:
        """Judge one output node and all nodes above it."""
        if output in self._reports:
            return self._reports[output]
        path: list[tuple[str, _Walk, _Upstream | None]] = [(output, self._inspect(output), None)]
        answer: bool | None = None
        while path:
            node_id, walk, origin = path[-1]
            try:
                request = next(walk) if answer is None else walk.send(answer)
            except StopIteration as finished:
                self._reports[node_id] = finished.value
            # The boundary to node code: a validator or a list of choices may raise anything, and ComfyUI reports it.
            except Exception as error:  # noqa: BLE001
                self._reports[node_id] = _NodeReport(False, [_exception_report(error, origin)])
            else:
                answer = self._answer_at_once(request, path)
                if answer is None:
                    path.append((request.node_id, self._inspect(request.node_id), request))
                continue
            path.pop()
            answer = self._reports[node_id].valid
        return self._reports[output]

    def _answer_at_once(self, request: _Upstream, path: Sequence[tuple[str, _Walk, _Upstream | None]]) -> bool | None:
        """Return whether a node is valid if that is known already, None if it must be walked."""
        known = self._reports.get(request.node_id)
        if known is not None:
            return known.valid
        if any(request.node_id == node_id for node_id, _, _ in path):
            return False  # A cycle: 0.8.0 refuses it without any error attached to a node.
        if len(path) >= LONGEST_CHAIN:
            error = RecursionError("maximum recursion depth exceeded while calling a Python object")
            self._reports[request.node_id] = _NodeReport(False, [_exception_report(error, request)])
            return False
        return None

    def _inspect(self, node_id: str) -> _Walk:
        """Judge one node; yields the nodes above it and is sent whether they are valid."""
        node = self._workflow[node_id]
        node_class = self._node_classes[node["class_type"]]
        inputs = node["inputs"]
        owned_by_validator = _validator_parameters(node_class)
        errors: list[ErrorReport] = []
        valid = True
        for name, declaration, required in declared_inputs(node_class):
            if name not in inputs:
                if required:
                    errors.append(_report("required_input_missing", "Required input is missing", name, name))
            elif isinstance(inputs[name], list):
                upstream = self._check_link(name, declaration, inputs[name], errors)
                if upstream is not None:
                    valid = (yield upstream) and valid
            else:
                check_range = owned_by_validator is not None and name not in owned_by_validator
                errors += self._check_literal(name, declaration, inputs, check_range=check_range)
        errors += self._run_validator(node_class, inputs, owned_by_validator)
        return _NodeReport(valid and not errors, errors)

    def _check_link(
        self, name: str, declaration: Input, link: list[Any], errors: list[ErrorReport]
    ) -> _Upstream | None:
        """Check shape and type of a link; a missing node or slot raises, as in ComfyUI."""
        config = self._config(declaration)
        if len(link) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            extra = {"input_config": config, "received_value": link}
            errors.append(_report("bad_linked_input", message, name, name, extra))
            return None
        source = self._workflow[link[0]]
        received = self._node_classes[source["class_type"]].outputs[link[1]]
        if not _types_match(received, config[0]):
            details = f"{name}, received_type({received}) mismatch input_type({config[0]})"
            message = "Return type mismatch between linked nodes"
            extra = {"input_config": config, "received_type": received, "linked_node": link}
            errors.append(_report("return_type_mismatch", message, details, name, extra))
            return None
        return _Upstream(link[0], name, config, link)

    def _check_literal(
        self, name: str, declaration: Input, inputs: dict[str, Any], *, check_range: bool
    ) -> list[ErrorReport]:
        """Convert a literal value in place; return what is wrong with it."""
        config = self._config(declaration)
        kind = config[0]
        value = inputs[name]
        try:
            if isinstance(value, dict) and "__value__" in value:
                value = inputs[name] = value["__value__"]
            if isinstance(kind, str) and kind in _CONVERTERS:
                value = inputs[name] = _CONVERTERS[kind](value)
        except (TypeError, ValueError, OverflowError) as error:
            message = f"Failed to convert an input value to a {kind} value"
            extra = {"input_config": config, "received_value": value, "exception_message": str(error)}
            return [_report("invalid_input_type", message, f"{name}, {value}, {error}", name, extra)]
        return _check_bounds(name, value, config) if check_range else []

    def _config(self, declaration: Input) -> list[Any]:
        return describe_input(declaration, self._catalog)

    def _run_validator(
        self, node_class: NodeClass, inputs: Mapping[str, Any], owned: frozenset[str] | None
    ) -> list[ErrorReport]:
        if node_class.validate is None or (owned is not None and not owned):
            return []
        literals = {
            name: inputs[name]
            for name, _, _ in declared_inputs(node_class)
            if (owned is None or name in owned) and name in inputs and not isinstance(inputs[name], list)
        }
        outcome = node_class.validate(self._catalog, **literals)
        if outcome is True:
            return []
        complaint = "" if outcome is False else f" - {outcome}"
        message = "Custom validation failed for node"
        return [_report("custom_validation_failed", message, f"{name}{complaint}", name) for name in literals]


def resolve_choices(declaration: Input, catalog: Catalog) -> list[str]:
    """Return the choices of a list input; asks the catalog where they are files."""
    if isinstance(declaration.kind, str):
        raise TypeError(f"An input of type {declaration.kind} has no choices.")
    return list(declaration.kind(catalog) if callable(declaration.kind) else declaration.kind)


def describe_input(declaration: Input, catalog: Catalog) -> list[Any]:
    """Return a declaration as ComfyUI shows it: ``[type name or list of choices, options]``.

    The options of a COMBO hold its choices (``Combo.Input.as_dict`` in ``comfy_api/latest/_io.py`` of 0.8.2).
    """
    if isinstance(declaration.kind, str):
        return [declaration.kind, dict(declaration.options)]
    choices = resolve_choices(declaration, catalog)
    if not declaration.combo:
        return [choices, dict(declaration.options)]
    return ["COMBO", {"multiselect": False, "options": choices, **declaration.options}]


def _check_bounds(name: str, value: Json, config: list[Any]) -> list[ErrorReport]:
    kind, options = config
    extra = {"input_config": config, "received_value": value}
    if "min" in options and value < options["min"]:
        message = f"Value {value} smaller than min of {options['min']}"
        return [_report("value_smaller_than_min", message, name, name, extra)]
    if "max" in options and value > options["max"]:
        message = f"Value {value} bigger than max of {options['max']}"
        return [_report("value_bigger_than_max", message, name, name, extra)]
    choices = options.get("options", []) if kind == "COMBO" else kind
    if isinstance(choices, list) and value not in choices:
        listed = len(choices) <= LONGEST_LISTED_CHOICES
        details = f"{name}: '{value}' not in {choices if listed else f'(list of length {len(choices)})'}"
        extra["input_config"] = config if listed else None
        return [_report("value_not_in_list", "Value not in list", details, name, extra)]
    return []


def _types_match(received: str, wanted: str | list[str]) -> bool:
    """Whether an output of one type may go into an input of another; both may be unions such as ``INT,FLOAT``."""
    if received == wanted or "*" in (received, wanted):
        return True
    if not isinstance(wanted, str):
        return False
    return not set(_union(received)).isdisjoint(_union(wanted))


def _union(types: str) -> list[str]:
    return [kind.strip() for kind in types.split(",")]


def _validator_parameters(node_class: NodeClass) -> frozenset[str] | None:
    """Return the inputs a class checks by itself, which spares them the check of range and choices; None means all."""
    if node_class.validate is None:
        return frozenset()
    parameters = list(inspect.signature(node_class.validate).parameters.values())[1:]
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(parameter.name for parameter in parameters)


def _report(
    kind: str, message: str, details: str, input_name: str, extra: Mapping[str, Any] | None = None
) -> ErrorReport:
    extra_info = {"input_name": input_name, **(extra or {})}
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info}


def _exception_report(error: Exception, origin: _Upstream | None) -> ErrorReport:
    """Return the error of a node whose validation raised; ``origin`` is the link that led to it, if any."""
    raised = {
        "exception_type": exception_name(error),
        "traceback": traceback.format_tb(error.__traceback__),
    }
    if origin is None:
        message = "Exception when validating node"
        return {"type": "exception_during_validation", "message": message, "details": str(error), "extra_info": raised}
    extra = {
        "input_config": origin.input_config,
        "exception_message": str(error),
        **raised,
        "linked_node": origin.link,
    }
    message = "Exception when validating inner node"
    return _report("exception_during_inner_validation", message, str(error), origin.input_name, extra)


def exception_name(error: BaseException) -> str:
    """Return the class of an exception as ComfyUI writes it: with its module, unless it is a builtin."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
