"""The rules of POST /prompt that the recordings do not show, on nodes made for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from comfypod.emulator.engine.validation import LONGEST_CHAIN, RequestCrashError, Verdict, validate_workflow
from comfypod.emulator.nodes.base import Catalog, Input, NodeClass, NodeResult


class Models:
    """A catalog with one model."""

    def models(self, folder: str) -> Sequence[str]:
        return [f"{folder}.safetensors"]

    def input_files(self) -> Sequence[str]:
        return []

    def resolve_input(self, name: str) -> Path | None:
        return None


def nothing(*_: Any, **__: Any) -> NodeResult:
    return NodeResult()


def accept_lower_case(_: Catalog, **inputs: Any) -> bool | str:
    return all(value == value.lower() for value in inputs.values()) or "must be lower case"


CLASSES = {
    "Number": NodeClass("Number", nothing, required={"value": Input("INT", {"min": 0, "max": 9})}, outputs=("INT",)),
    "Model": NodeClass("Model", nothing, required={"name": Input(lambda catalog: catalog.models("vae"))}),
    "Pass": NodeClass("Pass", nothing, required={"value": Input("INT")}, outputs=("INT",)),
    "Words": NodeClass(
        "Words", nothing, required={"kind": Input(["a", "b"])}, outputs=("STRING",), validate=accept_lower_case
    ),
    "Both": NodeClass("Both", nothing, required={"value": Input("INT,FLOAT")}, output_node=True),
    "Show": NodeClass("Show", nothing, required={"value": Input("*")}, output_node=True),
}


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def judge(workflow: Any, targets: Any = None) -> Verdict:
    return validate_workflow(workflow, CLASSES, Models(), targets)


def error_types(verdict: Verdict, node_id: str) -> list[str]:
    return [error["type"] for error in verdict.node_errors[node_id]["errors"]]


def test_a_valid_workflow_has_its_outputs_named_and_its_values_converted() -> None:
    workflow = {"1": node("Number", value="7"), "2": node("Show", value=["1", 0])}
    verdict = judge(workflow)
    assert verdict == Verdict(("2",), None, {})
    assert workflow["1"]["inputs"]["value"] == 7


def test_a_wrapped_value_is_unwrapped() -> None:
    workflow = {"1": node("Number", value={"__value__": 3}), "2": node("Show", value=["1", 0])}
    assert judge(workflow).error is None
    assert workflow["1"]["inputs"]["value"] == 3


@pytest.mark.parametrize("value", [None, "x", [1], {"a": 1}, float("nan"), float("inf"), "9" * 5000])
def test_what_is_no_number_is_refused_without_a_crash(value: Any) -> None:
    verdict = judge({"1": node("Number", value=value), "2": node("Show", value=["1", 0])})
    assert verdict.error is not None
    assert error_types(verdict, "1") in (["invalid_input_type"], ["bad_linked_input"])


def test_one_bad_output_does_not_stop_the_other() -> None:
    workflow = {"1": node("Number", value=1), "2": node("Show", value=["1", 0]), "3": node("Show")}
    verdict = judge(workflow)
    assert verdict.outputs == ("2",)
    assert verdict.error is None
    assert verdict.node_errors["3"]["dependent_outputs"] == ["3"]


def test_a_node_above_two_outputs_is_reported_once_with_both() -> None:
    workflow = {"1": node("Number", value=99), "2": node("Show", value=["1", 0]), "3": node("Show", value=["1", 0])}
    verdict = judge(workflow)
    assert list(verdict.node_errors) == ["1"]
    assert verdict.node_errors["1"]["dependent_outputs"] == ["2", "3"]


def test_targets_confine_the_outputs() -> None:
    workflow = {"1": node("Show", value=1), "2": node("Show", value=2)}
    assert judge(workflow, ["2"]).outputs == ("2",)
    refused = judge(workflow, ["9"]).error
    assert refused is not None
    assert refused["type"] == "prompt_no_outputs"


def test_choices_come_from_the_catalog() -> None:
    workflow = {"1": node("Model", name="other.safetensors"), "2": node("Show", value=1)}
    assert judge(workflow).error is None, "a node that no output needs is not looked at"
    workflow["2"] = node("Both", value=["1", 0])
    assert error_types(judge(workflow), "2") == ["exception_during_validation"], "the node has no output slot"


def test_a_union_of_types_takes_each_of_them() -> None:
    assert judge({"1": node("Number", value=1), "2": node("Both", value=["1", 0])}).error is None
    verdict = judge({"1": node("Words", kind="a"), "2": node("Both", value=["1", 0])})
    assert error_types(verdict, "2") == ["return_type_mismatch"]


def test_a_validator_replaces_the_check_of_choices() -> None:
    assert judge({"1": node("Words", kind="c"), "2": node("Show", value=["1", 0])}).error is None
    verdict = judge({"1": node("Words", kind="A"), "2": node("Show", value=["1", 0])})
    assert error_types(verdict, "1") == ["custom_validation_failed"]
    assert verdict.node_errors["1"]["errors"][0]["details"] == "kind - must be lower case"


def test_a_fault_above_the_output_names_the_link_that_leads_to_it() -> None:
    workflow = {"1": node("Pass", value=["9", 0]), "2": node("Show", value=["1", 0])}
    verdict = judge(workflow)
    error = verdict.node_errors["1"]["errors"][0]
    assert error["type"] == "exception_during_inner_validation"
    assert error["details"] == "'9'"
    assert error["extra_info"]["linked_node"] == ["1", 0]


@pytest.mark.parametrize("length", [2, 50])
def test_a_cycle_is_refused_without_naming_a_node(length: int) -> None:
    workflow = {str(i): node("Pass", value=[str((i + 1) % length), 0]) for i in range(length)}
    workflow["show"] = node("Show", value=["0", 0])
    verdict = judge(workflow)
    assert verdict.error is not None
    assert verdict.error["type"] == "prompt_outputs_failed_validation"
    assert verdict.node_errors == {}


def chain(length: int) -> dict[str, Any]:
    workflow = {str(i): node("Pass", value=[str(i + 1), 0]) for i in range(length)}
    workflow[str(length)] = node("Number", value=1)
    workflow["show"] = node("Show", value=["0", 0])
    return workflow


def test_a_long_chain_is_accepted_and_one_beyond_comfyuis_recursion_is_not() -> None:
    assert judge(chain(LONGEST_CHAIN - 2)).error is None
    verdict = judge(chain(1500))
    (failed,) = verdict.node_errors.values()
    assert failed["errors"][0]["type"] == "exception_during_inner_validation"
    assert failed["errors"][0]["extra_info"]["exception_type"] == "RecursionError"


@pytest.mark.parametrize(
    "workflow",
    [None, 5, "text", ["x"], {"1": None}, {"1": 5}, {"1": {"class_type": ["list"]}}, {"1": {"class_type": {}}}],
)
def test_shapes_that_crash_comfyui_are_named_so(workflow: Any) -> None:
    with pytest.raises(RequestCrashError):
        judge(workflow)


@pytest.mark.parametrize("inputs", [5, None, "text", [1]])
def test_inputs_that_are_no_object_are_reported(inputs: Any) -> None:
    verdict = judge({"1": {"class_type": "Show", "inputs": inputs}})
    assert verdict.error is not None
    assert error_types(verdict, "1") in (["exception_during_validation"], ["required_input_missing"])
