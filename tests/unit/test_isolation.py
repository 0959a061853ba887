"""Workflows rewritten so that jobs do not touch each other's files."""

from __future__ import annotations

from typing import Any

import pytest

from comfypod.comfyui.catalogue import Catalogue
from comfypod.errors import InvalidWorkflow
from comfypod.schema.workflow import Workflow
from comfypod.worker.isolation import files_in_lists, saving_node, unused_files, with_own_inputs, with_own_outputs

CATALOGUE = Catalogue(
    {
        "SaveImage": {"output_node": True, "input": {"required": {}}},
        "PreviewImage": {"output_node": True, "input": {"required": {}}},
        "LoadImage": {"input": {"required": {"image": [["a.png"], {"image_upload": True}]}}},
        "PlainLoader": {"input": {"required": {"file": [["a.png"], {}]}}},
    }
)


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def own(**nodes: dict[str, Any]) -> dict[str, Any]:
    return dict(with_own_outputs(Workflow.parse(nodes), "job-1", CATALOGUE).nodes)


def test_every_prefix_is_put_below_the_jobs_folder() -> None:
    nodes = own(a=node("SaveImage", filename_prefix="cats/fox"), b=node("Other", filename_prefix=""))
    assert nodes["a"]["inputs"]["filename_prefix"] == "job-1/cats/fox"
    assert nodes["b"]["inputs"]["filename_prefix"] == "job-1/ComfyUI"


@pytest.mark.parametrize("prefix", ["/etc/x", "../x", "a/../../x", "..\\x", "a/.."])
def test_a_prefix_that_leads_out_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidWorkflow, match="leads out of the output folder"):
        own(a=node("SaveImage", filename_prefix=prefix))


def test_output_nodes_without_a_prefix_of_their_own_run_anew_each_time() -> None:
    nodes = own(
        a=node("PreviewImage"), b=node("SaveImage", filename_prefix=["7", 0]), c=node("LoadImage", image="a.png")
    )
    assert nodes["a"]["inputs"] == {"comfypod_job": "job-1"}
    assert nodes["b"]["inputs"] == {"filename_prefix": ["7", 0], "comfypod_job": "job-1"}
    assert nodes["c"]["inputs"] == {"image": "a.png"}


def test_what_would_leave_through_the_websocket_becomes_a_file() -> None:
    assert own(a=node("SaveImageWebsocket", images=["1", 0]))["a"] == {
        "class_type": "SaveImage",
        "inputs": {"images": ["1", 0], "filename_prefix": "job-1/websocket"},
    }


@pytest.mark.parametrize(
    "value",
    [
        "ComfyUI_00001_.png [output]",
        "x.png[temp]",
        "sub/x.webp [output]",
        "x.png-[output]",
        "x.png\t[temp]",
        "/runpod-volume/outputs/other/x.png",
        "../output/x.png",
        "..\\output\\x.png",
        "a/../../x.png [input]",
    ],
)
def test_what_another_job_left_cannot_be_loaded(value: str) -> None:
    for class_type, name in (("LoadImage", "image"), ("PlainLoader", "file")):
        with pytest.raises(InvalidWorkflow, match="outside the job's own"):
            own(a=node(class_type, **{name: value}))


def test_a_text_that_speaks_of_outputs_is_no_file() -> None:
    text = "a diagram, as in report.txt [output]"
    assert own(a=node("Text", text=text))["a"]["inputs"]["text"] == text
    assert own(a=node("LoadImage", image="a.png", comfypod_job="mine"))["a"]["inputs"] == {"image": "a.png"}


def test_the_exact_name_of_a_file_counts_before_other_forms() -> None:
    workflow = Workflow.parse({"1.a": node("LoadImage", image="a.png"), "2": node("LoadImage", image="input/a.png")})
    nodes = with_own_inputs(workflow, {"input/a.png": "job/input/a.png", "a.png": "job/a.png"}).nodes
    assert [node["inputs"]["image"] for node in nodes.values()] == ["job/a.png", "job/input/a.png"]


def test_files_are_named_where_they_lie_and_only_where_they_are_the_whole_value() -> None:
    workflow = Workflow.parse(
        {
            "1": node(
                "LoadImage",
                image="a.png",
                again="a.png [input]",
                path="input/a.png",
                note="see a.png",
                link=["a.png", 0],
            )
        }
    )
    inputs = with_own_inputs(workflow, {"a.png": "job-1/a.png"}).nodes["1"]["inputs"]
    placed = "job-1/a.png"
    assert inputs == {"image": placed, "again": placed, "path": placed, "note": "see a.png", "link": ["a.png", 0]}
    assert workflow.nodes["1"]["inputs"]["image"] == "a.png"
    assert unused_files(workflow, {"a.png": "", "b.png": ""}) == ["b.png"]


def test_a_list_without_an_upload_button_wants_its_file_in_the_input_folder_itself() -> None:
    workflow = Workflow.parse({"1": node("LoadImage", image="a.png"), "2": node("PlainLoader", file="b.png")})
    assert files_in_lists(workflow, CATALOGUE, frozenset({"a.png", "b.png"})) == {"b.png"}


def test_the_node_that_saved_a_file_is_the_one_with_its_prefix() -> None:
    nodes = own(a=node("SaveImage", filename_prefix="fox"), b=node("CheckpointSave", filename_prefix="fox/model%date%"))
    workflow = Workflow(nodes)
    assert saving_node(workflow, "job-1/fox/model2026_00001_.safetensors") == "b"
    assert saving_node(workflow, "job-1/fox_00001_.png") == "a"
    assert saving_node(workflow, "job-1/other.png") == ""
    dated = own(
        a=node("SaveImage", filename_prefix="%year%_%month%_%day%_%hour%/foo"),
        b=node("SaveImage", filename_prefix="model"),
    )
    assert saving_node(Workflow(dated), "job-1/model_00001_.png") == "b"
