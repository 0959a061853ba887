"""`comfypod workflow parameters` and `convert`: what can be set, and the API format of what the page saved."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfypod.cli.node_catalogue import NodeSource, find_node_source
from comfypod.cli.workflow.convert import api_format
from comfypod.cli.workflow.document import read_document
from comfypod.comfyui.catalogue import Catalogue
from comfypod.comfyui.literals import input_files, list_literals, model_files
from comfypod.errors import InvalidJobInput, InvalidWorkflow
from comfypod.schema.workflow import Workflow

Write = Callable[..., Path]
Inspect = Callable[..., subprocess.CompletedProcess[str]]
Json = dict[str, Any]

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "tests" / "transcripts" / "ui"


@pytest.fixture(scope="module")
def engine() -> NodeSource:
    return find_node_source(None, ROOT / "models.toml")


@pytest.fixture
def page(write: Write) -> Path:
    """A document as ComfyUI's page saves it, of classes that the built-in engine has."""
    node = {"pos": [0, 0], "size": [1, 1], "flags": {}, "order": 0, "mode": 0, "properties": {}}
    link = {"name": "images", "type": "IMAGE", "link": 1}
    made = {"name": "IMAGE", "type": "IMAGE", "links": [1]}
    return write(
        {
            "nodes": [
                {
                    **node,
                    "id": 1,
                    "type": "EmptyImage",
                    "inputs": [],
                    "outputs": [made],
                    "widgets_values": [8, 8, 1, 0],
                },
                {**node, "id": 2, "type": "SaveImage", "inputs": [link], "outputs": [], "widgets_values": ["pägé"]},
            ],
            "links": [[1, 1, 0, 2, 0, "IMAGE"]],
            "version": 0.4,
        },
        "page.json",
    )


def test_what_people_change_first_comes_first_and_links_are_left_out(picture: Json) -> None:
    listed = list_literals(Workflow.parse(picture))
    targets = [item.target for item in listed]
    assert targets[:6] == ["6.text", "7.text", "3.seed", "3.steps", "3.cfg", "5.width"]
    assert targets.index("3.sampler_name") > targets.index("9.filename_prefix")
    assert "3.model" not in targets
    first = listed[0]
    assert (first.value, first.class_type, first.title) == ("a red circle on blue", "CLIPTextEncode", "Prompt")
    assert [item.often_changed for item in listed].index(False) == targets.index("3.sampler_name")


def test_models_and_input_files_are_told_apart(picture: Json, engine: NodeSource) -> None:
    picture["10"] = {"class_type": "LoadImage", "inputs": {"image": "photo.png"}}
    workflow = Workflow.parse(picture)
    assert [(item.target, item.name) for item in model_files(workflow)] == [
        ("4.ckpt_name", "sd_xl_base_1.0.safetensors")
    ]
    assert [(item.target, item.name) for item in input_files(workflow, engine.catalogue)] == [("10.image", "photo.png")]


def test_every_parameter_of_a_template_is_listed_with_how_to_set_it(inspect: Inspect) -> None:
    done = inspect("workflow", "parameters", "text_to_image", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    template = json.loads((ROOT / "workflows" / "text_to_image.json").read_text(encoding="utf-8"))
    assert [item["name"] for item in document["parameters"]] == list(template["parameters"])
    width = next(item for item in document["parameters"] if item["name"] == "width")
    assert (width["type"], width["minimum"], width["multiple_of"], width["set"]) == (
        "integer",
        64,
        8,
        "--set width=1024",
    )
    assert document["models"] == [{"target": "4.ckpt_name", "name": "sd_xl_base_1.0.safetensors"}]
    shown = inspect("workflow", "parameters", "text_to_image")
    assert "--set 'prompt=a red circle on blue'" in shown.stdout
    assert "What it must not show." in shown.stdout


def test_an_own_workflow_shows_nodes_inputs_values_and_titles(inspect: Inspect, write: Write, picture: Json) -> None:
    path = write(picture)
    shown = inspect("workflow", "parameters", path)
    assert shown.returncode == 0, shown.stderr
    line = next(line for line in shown.stdout.splitlines() if "6.text" in line)
    assert all(part in line for part in ("*", '"a red circle on blue"', "CLIPTextEncode", "Prompt"))
    assert "--set 3.seed=random" in shown.stdout


def test_what_a_workflow_says_cannot_steer_the_terminal(inspect: Inspect, write: Write, picture: Json) -> None:
    picture["4"]["inputs"]["ckpt_name"] = "\x1b]0;owned\x07[red]x.safetensors"
    picture["6"]["_meta"]["title"] = "\x1b[2J[bold]title"
    done = inspect("workflow", "parameters", write(picture))
    assert done.returncode == 0, done.stderr
    assert not any(character in done.stdout for character in "\x1b\x07")
    assert "[red]x.safetensors" in done.stdout
    assert "[bold]title" in done.stdout


@pytest.mark.parametrize("name", ["bypass", "subgraph_value", "primitive_two_targets"])
def test_a_page_becomes_the_workflow_that_the_front_end_sends(name: str, tmp_path: Path) -> None:
    path = PAGES / f"{name}.json"
    recorded = json.loads(path.read_text(encoding="utf-8"))
    page = tmp_path / "page.json"
    page.write_text(json.dumps(recorded["workflow"]))
    catalogue = Catalogue(json.loads((PAGES / "object_info.json").read_text(encoding="utf-8")))
    converted = api_format(read_document(str(page)), catalogue)
    expected = recorded["api"]
    assert {key: node["class_type"] for key, node in converted.nodes.items()} == {
        key: node["class_type"] for key, node in expected.items()
    }


def test_convert_writes_the_api_format_to_stdout_or_a_file(inspect: Inspect, page: Path, tmp_path: Path) -> None:
    done = inspect("workflow", "convert", page)
    assert done.returncode == 0, done.stderr
    workflow = json.loads(done.stdout)
    assert workflow["2"]["inputs"] == {"images": ["1", 0], "filename_prefix": "pägé"}
    assert "2 nodes" in done.stderr
    target = tmp_path / "api.json"
    again = inspect("workflow", "convert", page, "--output", target)
    assert (again.returncode, again.stdout) == (0, "")
    assert json.loads(target.read_text(encoding="utf-8")) == workflow
    checked = inspect("workflow", "check", target)
    assert checked.returncode == 0, checked.stdout


def test_convert_does_not_write_over_the_document_itself(inspect: Inspect, page: Path) -> None:
    before = page.read_bytes()
    done = inspect("workflow", "convert", page, "--output", page)
    assert done.returncode == 2
    assert "is the document itself" in done.stderr
    assert page.read_bytes() == before


def test_convert_refuses_what_the_page_did_not_save(inspect: Inspect, write: Write, picture: Json) -> None:
    done = inspect("workflow", "convert", write(picture))
    assert done.returncode == 2
    assert "is not a document of ComfyUI's page: API format" in done.stderr


def test_a_page_is_checked_and_its_parameters_are_listed_as_converted(inspect: Inspect, page: Path) -> None:
    checked = inspect("workflow", "check", page)
    assert checked.returncode == 0, checked.stdout
    assert "as ComfyUI's page saves it; 2 nodes" in checked.stdout
    listed = json.loads(inspect("workflow", "parameters", page, "--json").stdout)
    assert "1.width" in [item["target"] for item in listed["inputs"]]


def test_a_class_that_nobody_knows_cannot_be_converted(write: Write, engine: NodeSource) -> None:
    node = {"id": 7, "type": "Unheard Of", "inputs": [], "outputs": [{"name": "A", "type": "A", "links": [1]}]}
    sink = {"id": 8, "type": "SaveImage", "inputs": [{"name": "images", "type": "IMAGE", "link": 1}], "outputs": []}
    document = {"nodes": [node, sink], "links": [[1, 7, 0, 8, 0, "IMAGE"]], "version": 0.4}
    path = write(document, "page.json")
    with pytest.raises(InvalidWorkflow, match="Unheard Of"):
        api_format(read_document(str(path)), engine.catalogue)


def test_a_missing_file_is_told_with_names_that_resemble_it(inspect: Inspect, write: Write, picture: Json) -> None:
    path = write(picture, "portrait.json")
    done = inspect("workflow", "parameters", path.with_name("portait.json"))
    assert done.returncode == 2
    assert "did you mean portrait.json?" in done.stderr


@pytest.mark.parametrize("given", ['{"1": {"class_type": "LoadImage"}}' * 200, "a fox in the snow " * 300])
def test_a_text_that_is_no_file_is_told_as_such(given: str) -> None:
    with pytest.raises(InvalidJobInput, match="there is no template"):
        read_document(given)
