"""What ComfyUI itself would say to a workflow, without sending it: a ``POST /prompt`` would run it.

The rules are the built-in engine's, which were taken from recordings of ComfyUI 0.8.0; the classes are those of any
``/object_info``. Of a custom node the catalogue does not tell what it checks by itself (``VALIDATE_INPUTS``), so what
may be spared a check is a warning and not a problem; types that newer versions expand (``COMFY_…_V3``) pass.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from comfypod.comfyui.catalogue import Catalogue, linked_node, reachable
from comfypod.emulator.engine.validation import RequestCrashError, Verdict, validate_workflow
from comfypod.emulator.nodes.base import Input, NodeClass
from comfypod.errors import PromptRejected, ProtocolViolation
from comfypod.errors.rejection import node_error_sentences
from comfypod.schema.wire import as_list, as_object, shortened
from comfypod.schema.workflow import Workflow

_ANYTHING = "*"
"""The type that takes and gives everything."""
_MOST_OUTPUTS = 256
_BEHIND_DEAD_LINKS = "\0nothing"
"""The id and the class of a node that stands behind links that lead nowhere."""
_EXPANDED_TYPES = "COMFY_"
"""Type names of ``comfy_api/latest/_io.py`` (COMFY_DYNAMICCOMBO_V3, COMFY_AUTOGROW_V3 …): inputs are made from them."""
_SPARED = {"value_smaller_than_min", "value_bigger_than_max", "return_type_mismatch", "invalid_input_type"}
"""What a custom node's own check may take the place of."""

NO_OUTPUTS = "prompt_no_outputs"


@dataclass(frozen=True, slots=True)
class Rejection:
    """What ComfyUI would refuse (``problems``) or may refuse (``doubts``), in sentences; and the worker's error.

    ``is_partial``: other outputs would run, so a job with ``allow_partial`` is taken.
    """

    problems: Sequence[str] = ()
    doubts: Sequence[str] = ()
    error: PromptRejected | ProtocolViolation | None = None
    is_partial: bool = False


def find_rejection(workflow: Workflow, catalogue: Catalogue) -> Rejection:
    """Apply ComfyUI's rules to a workflow; unknown classes and texts that their list lacks are told elsewhere."""
    classes = {name: _node_class(name, catalogue) for name in catalogue.object_info}
    unknown = {str(node["class_type"]) for node in workflow.nodes.values()} - classes.keys()
    unknown.add(_BEHIND_DEAD_LINKS)
    classes |= {name: NodeClass(name, _never_run, outputs=(_ANYTHING,) * _MOST_OUTPUTS) for name in unknown}
    dead = list(_dead_links(workflow, classes, set(reachable(workflow.nodes, catalogue))))
    mended = workflow.with_values({(node_id, name): [_BEHIND_DEAD_LINKS, 0] for node_id, name, _ in dead})
    stub = {_BEHIND_DEAD_LINKS: {"class_type": _BEHIND_DEAD_LINKS, "inputs": {}}}
    try:
        verdict = _validated(workflow.nodes, classes)
        # ComfyUI gives a node up at its first dead link; what else is wrong with it is told here as well.
        rest = _told(_validated({**mended.nodes, **stub}, classes), mended, catalogue) if dead else None
    except RequestCrashError as crash:
        error = ProtocolViolation("ComfyUI (POST /prompt)", f"HTTP 500 ({crash})")
        return Rejection([str(error)], error=error)
    told = _told(verdict, workflow, catalogue)
    if rest is None:
        return told
    lost = [sentence for _, _, sentence in dead]
    if told.error is None:  # inputs that the class does not declare, or makes from others
        return replace(told, doubts=[*lost, *told.doubts])
    return replace(told, problems=[*lost, *rest.problems], doubts=rest.doubts)


def _validated(nodes: Mapping[str, Any], classes: Mapping[str, NodeClass]) -> Verdict:
    return validate_workflow(copy.deepcopy(dict(nodes)), classes, _NoFiles())


def _dead_links(
    workflow: Workflow, classes: Mapping[str, NodeClass], wanted: Collection[str]
) -> Iterator[tuple[str, str, str]]:
    """Inputs of the ``wanted`` nodes that are linked to nothing: node id, name, and a sentence."""
    for node_id in workflow.nodes:
        for name, value in workflow.nodes[node_id]["inputs"].items() if node_id in wanted else ():
            source = linked_node(value)
            if source is not None and (end := _dead_end(source, value[1], workflow, classes)):
                where = f"node {shortened(node_id)} ({workflow.class_type(node_id)})"
                yield node_id, name, f"{where}: {name} is linked to {end}"


def _dead_end(source: str, slot: Any, workflow: Workflow, classes: Mapping[str, NodeClass]) -> str | None:  # noqa: ANN401
    """What a link leads to, if there is nothing; None for a sound link."""
    class_type = workflow.class_type(source)
    if class_type is None:
        return f"node {shortened(source)}, which is not in the workflow"
    outputs = classes[class_type].outputs
    if not isinstance(slot, int) or slot < len(outputs) or _ANYTHING in outputs:
        return None
    return f"output {slot} of node {shortened(source)}, which has {len(outputs)} output{'s' * (len(outputs) != 1)}"


def _told(verdict: Verdict, workflow: Workflow, catalogue: Catalogue) -> Rejection:
    sorted_errors = _Sorted()
    for node_id, entry in verdict.node_errors.items():
        sorted_errors.add(node_id, entry, workflow, catalogue)
    if sorted_errors.certain:
        top = verdict.error or {"message": "some outputs failed validation"}
        error = PromptRejected(top, sorted_errors.certain)
        return Rejection(
            _sentences(sorted_errors.certain), _sentences(sorted_errors.doubtful), error, verdict.error is None
        )
    # Without a word about any node: no outputs (or none that is known), or a circle.
    if verdict.error is not None and not verdict.node_errors:
        if verdict.error["type"] == NO_OUTPUTS and _has_unknown(workflow, catalogue):
            return Rejection()  # one of them may be an output
        error = PromptRejected(verdict.error, {})
        advice = "; add a node that saves, such as SaveImage" if verdict.error["type"] == NO_OUTPUTS else ""
        return Rejection([f"{error}{advice}"], error=error)
    return Rejection(doubts=_sentences(sorted_errors.doubtful))


def _has_unknown(workflow: Workflow, catalogue: Catalogue) -> bool:
    return any(node["class_type"] not in catalogue.object_info for node in workflow.nodes.values())


@dataclass(slots=True)
class _Sorted:
    """Entries of ``node_errors``, parted into what is certain and what is not."""

    certain: dict[str, Any] = field(default_factory=dict)
    doubtful: dict[str, Any] = field(default_factory=dict)

    def add(self, node_id: str, entry: Mapping[str, Any], workflow: Workflow, catalogue: Catalogue) -> None:
        """Part the errors of one node."""
        for error in entry["errors"]:
            if _is_told_elsewhere(error):
                continue
            place = self.certain if _is_certain(error, entry["class_type"], workflow, catalogue) else self.doubtful
            place.setdefault(node_id, {**entry, "errors": []})["errors"].append(error)


def _is_told_elsewhere(error: Mapping[str, Any]) -> bool:
    """Texts that a list does not have (`check_workflow` tells more), and lists that are linked to (versions differ)."""
    extra = error["extra_info"]
    if error["type"] == "value_not_in_list":
        return isinstance(extra.get("received_value"), str)
    wanted = (as_list(extra.get("input_config")) or [None])[0]
    return error["type"] == "return_type_mismatch" and (isinstance(wanted, list) or wanted == "COMBO")


def _is_certain(error: Mapping[str, Any], class_type: str, workflow: Workflow, catalogue: Catalogue) -> bool:
    if error["type"] == "value_not_in_list":  # nothing where a choice belongs: some of ComfyUI's own classes fill it in
        return catalogue.is_core(class_type) and error["extra_info"].get("received_value") is not None
    if error["type"] not in _SPARED:
        return True
    link = as_list(error["extra_info"].get("linked_node"))
    source = workflow.class_type(str(link[0])) if link else None
    return catalogue.is_core(class_type) and (source is None or catalogue.is_core(source))


def _sentences(node_errors: Mapping[str, Any]) -> list[str]:
    return [sentence for node_id, entry in node_errors.items() for sentence in node_error_sentences(node_id, entry, {})]


def _node_class(name: str, catalogue: Catalogue) -> NodeClass:
    """A class as the rules know it, from its entry in ``/object_info``."""
    info = as_object(catalogue.object_info[name])
    groups = as_object(info.get("input"))
    uploads = frozenset(item.name for item in catalogue.inputs(name).values() if item.is_upload)
    return NodeClass(
        name,
        _never_run,
        required=dict(_inputs(as_object(groups.get("required")), uploads)),
        optional=dict(_inputs(as_object(groups.get("optional")), uploads)),
        outputs=tuple(_type_name(kind) for kind in as_list(info.get("output"))),
        output_node=bool(info.get("output_node")),
    )


def _inputs(group: Mapping[str, Any], uploads: frozenset[str]) -> Iterator[tuple[str, Input]]:
    for name, config in group.items():
        kind, options, *_ = [*as_list(config), None, None]
        if isinstance(kind, str) and kind.startswith(_EXPANDED_TYPES):
            continue
        yield name, Input(_ANYTHING) if name in uploads else _input(kind, as_object(options))


def _input(kind: Any, options: Mapping[str, Any]) -> Input:  # noqa: ANN401 (foreign JSON)
    """From ``[[choices], options]``, ``["COMBO", {"options": …}]`` or ``["TYPE", options]``."""
    is_combo = kind == "COMBO"
    choices = options.get("options") if is_combo else kind
    if isinstance(choices, list):
        return Input(_ANYTHING) if options.get("multiselect") else Input(choices, combo=is_combo)
    if is_combo or not isinstance(kind, str):  # its choices come from elsewhere ("remote")
        return Input(_ANYTHING)
    bounds = {name: options[name] for name in ("min", "max") if isinstance(options.get(name), int | float)}
    return Input(kind, bounds if kind in {"INT", "FLOAT"} else {})


def _type_name(kind: Any) -> str:  # noqa: ANN401 (foreign JSON)
    return kind if isinstance(kind, str) and not kind.startswith(_EXPANDED_TYPES) else _ANYTHING


def _never_run(*_: object, **__: object) -> NoReturn:
    msg = "these classes are declarations only"
    raise RuntimeError(msg)


class _NoFiles:
    """The catalogue of files that the rules ask; all choices stand in the declarations."""

    def models(self, folder: str) -> Sequence[str]:  # noqa: ARG002
        """None."""
        return ()

    def input_files(self) -> Sequence[str]:
        """None."""
        return ()

    def resolve_input(self, name: str) -> Path | None:  # noqa: ARG002
        """None."""
        return None
