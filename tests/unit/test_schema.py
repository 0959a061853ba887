"""Workflows, templates and job inputs: what is accepted, and what is said about the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfypod.errors import ConfigurationError, InvalidJobInput, InvalidWorkflow
from comfypod.schema.artifact import content_type_of
from comfypod.schema.job import JobInput, idempotency_key_of
from comfypod.schema.output import Account, Outputs, Timings, WorkerInfo, failure_to_json, success_to_json
from comfypod.schema.template import Template, load_template
from comfypod.schema.wire import json_safe
from comfypod.schema.workflow import Workflow

WORKFLOWS = Path(__file__).parents[2] / "workflows"
NODE = {"class_type": "CLIPTextEncode", "inputs": {"text": "a", "clip": ["4", 1]}, "_meta": {"title": "Prompt"}}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "not a list"),
        ("text", "not a text"),
        ({}, "no nodes"),
        ({"nodes": [], "links": []}, "Export (API)"),
        ({"prompt": {"6": NODE}, "client_id": "x"}, 'only what stands under "prompt"'),
        ({"6": None}, "Node 6: a node is an object"),
        ({"6": {"inputs": {}}}, "Node 6: class_type is missing"),
        ({"6": {"class_type": ["list"], "inputs": {}}}, "Node 6: class_type is missing"),
        ({"6": {"class_type": "SaveImage"}}, "Node 6: inputs is missing"),
    ],
)
def test_what_is_no_workflow_is_refused_with_what_to_change(document: Any, says: str) -> None:
    with pytest.raises(InvalidWorkflow) as caught:
        Workflow.parse(document)
    assert says in str(caught.value)


def no_draw(name: str) -> int:
    raise AssertionError(f"no seed was to be drawn for {name}")


def test_inputs_are_replaced_in_a_copy() -> None:
    workflow = Workflow.parse({"6": NODE})
    changed = workflow.with_inputs({"6.text": "a fox"})
    assert changed.nodes["6"]["inputs"]["text"] == "a fox"
    assert workflow.nodes["6"]["inputs"]["text"] == "a"


SEEDS = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 1}},
    "4": {"class_type": "KSampler", "inputs": {"seed": ["5", 0]}},
    "5": {"class_type": "RandomNoise", "inputs": {"noise_seed": 2}},
}


def test_a_seed_without_a_node_is_every_seed_that_is_not_connected() -> None:
    nodes = Workflow.parse(SEEDS).with_inputs({"5.noise_seed": 9, "seed": 7}).nodes
    assert [nodes["3"]["inputs"], nodes["4"]["inputs"], nodes["5"]["inputs"]] == [
        {"seed": 7},
        {"seed": ["5", 0]},
        {"noise_seed": 9},  # named itself
    ]


def test_a_seed_for_a_workflow_without_one_is_refused() -> None:
    with pytest.raises(InvalidWorkflow, match="no node of this workflow has a seed"):
        Workflow.parse({"6": NODE}).with_inputs({"seed": 7})


@pytest.mark.parametrize("target", ["6.txet", "7.text", "6", ".text"])
def test_an_input_that_is_not_there_is_refused_and_the_ones_that_are_are_named(target: str) -> None:
    with pytest.raises(InvalidWorkflow, match=r"there is: 6"):
        Workflow.parse({"6": NODE}).with_inputs({target: "x"})


def test_named_parameters_are_set_by_their_names() -> None:
    """The nodes of our own pack: two may share a name, and a name may have a point in it."""
    text = {"class_type": "ComfypodText", "inputs": {"name": "style", "value": "", "default": "plain"}}
    number = {"class_type": "ComfypodNumber", "inputs": {"name": "strength 0.5", "value": 1.0}}
    workflow = Workflow.parse({"1": text, "2": text, "3": number, "6": {**NODE, "inputs": {"name": "cfg", "value": 1}}})
    nodes = workflow.with_inputs({"style": "noir", "strength 0.5": 0.7, "6.value": 2}).nodes
    assert [nodes[node_id]["inputs"]["value"] for node_id in "1236"] == ["noir", "noir", 0.7, 2]
    assert nodes["1"]["inputs"]["default"] == "plain"
    with pytest.raises(InvalidWorkflow, match=r"There is no input 'cfg'; there is: style, strength 0\.5, 1"):
        workflow.with_inputs({"cfg": 2})


def test_a_named_parameter_may_be_called_seed() -> None:
    number = {"class_type": "ComfypodNumber", "inputs": {"name": "seed", "value": 0.0}}
    assert Workflow.parse({"1": number}).with_inputs({"seed": 7}).nodes["1"]["inputs"]["value"] == 7
    nodes = Workflow.parse({**SEEDS, "1": number}).with_inputs({"seed": 7}).nodes
    assert (nodes["1"]["inputs"]["value"], nodes["3"]["inputs"]["seed"]) == (7, 7)


def test_the_default_template_renders_what_is_asked_for() -> None:
    workflow = load_template(WORKFLOWS, "text_to_image").render({"prompt": "a fox", "seed": 7, "3.cfg": 2.5}, no_draw)
    assert workflow.nodes["6"]["inputs"]["text"] == "a fox"
    assert workflow.nodes["3"]["inputs"]["seed"] == 7
    assert workflow.nodes["3"]["inputs"]["cfg"] == 2.5
    assert workflow.nodes["3"]["inputs"]["steps"] == 20


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"promt": "x"}, "did you mean 'prompt'?"),
        ({"seed": "Random"}, "parameters.seed: must be a whole number or \"random\", not 'Random'"),
        ({"seed": True}, "must be a whole number"),
        ({"seed": -1}, "must be at least 0"),
        ({"seed": 2**64}, "must be at most 18446744073709551615"),
        ({"cfg": 30.5}, "must be at most 30.0"),
        ({"steps": 1000}, "must be at most 100"),
        ({"width": 100}, "must be a multiple of 8"),
        ({"prompt": 5}, "must be a text"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidJobInput) as caught:
        load_template(WORKFLOWS, "text_to_image").render(parameters, no_draw)
    assert says in str(caught.value)


@pytest.mark.parametrize("name", ["nope", "../workflows/text_to_image", "", "text_to_image.json", "/etc/passwd"])
def test_a_template_that_is_not_there_is_refused_and_those_that_are_are_named(name: str) -> None:
    with pytest.raises(InvalidJobInput, match="templates here: text_to_image"):
        load_template(WORKFLOWS, name)


def test_a_broken_template_is_the_operators_fault(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"name": "broken"}', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="workflow"):
        load_template(tmp_path, "broken")


def test_every_shipped_template_has_sound_targets() -> None:
    for path in WORKFLOWS.glob("*.json"):
        template = Template.model_validate_json(path.read_bytes())
        assert template.name == path.stem
        template.render({}, lambda _: 5)


def test_a_random_seed_is_drawn_once_for_all_that_it_goes_to() -> None:
    template = Template.model_validate(
        {
            "name": "two",
            "parameters": {"seed": {"type": "seed", "targets": ["1.seed", "2.noise_seed"], "default": "random"}},
            "workflow": {
                "1": {"class_type": "A", "inputs": {"seed": 0}},
                "2": {"class_type": "B", "inputs": {"noise_seed": 0}},
                "3": {"class_type": "C", "inputs": {"seed": "random"}},
            },
        }
    )
    drawn: dict[str, int] = {}

    def draw(name: str) -> int:
        return drawn.setdefault(name, 100 + len(drawn))

    nodes = template.render({}, draw).with_seeds(draw).nodes
    assert (nodes["1"]["inputs"]["seed"], nodes["2"]["inputs"]["noise_seed"]) == (100, 100)
    assert nodes["3"]["inputs"]["seed"] == 101
    assert drawn == {"seed": 100, "3.seed": 101}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "must be an object"),
        ([], "must be an object"),
        (5, "must be an object"),
        ("{broken", "not valid JSON"),
        ('"text"', "must be an object"),
        ({}, "send a workflow"),
        ({"workflow": 5}, "workflow"),
        ({"workflow": {"1": NODE}, "prompt": "x"}, "prompt: belongs to a template"),
        ({"prompt": "x", "files": [{"name": "../x", "data": ""}]}, "files[0].name: must be a plain relative file name"),
        ({"prompt": "x", "files": [{"name": "a\x00b", "data": ""}]}, "files[0].name: must be a plain"),
        ({"prompt": "x", "files": [{"name": "x"}]}, "files[0]: send its content"),
        ({"prompt": "x", "files": [], "images": []}, "images: is the same as files"),
        ({"prompt": "x", "timeout_seconds": 0}, "timeout_seconds: input should be greater than 0"),
        ({"prompt": "x", "idempotency_key": "two words"}, "idempotency_key: string should match pattern"),
        ({"prompt": "x", "idempotency_key": "a\n"}, "idempotency_key: string should match pattern"),
        ({"prompt": "x", "idempotency_key": "a" * 201}, "idempotency_key: string should match pattern"),
        ({"prompt": "x", "trace_id": "0AF7"}, "trace_id: string should match pattern"),
        ({"prompt": "x", "delivery": "pigeon"}, "delivery: input should be 'auto', 'inline'"),
        ({"prompt": "x", "outputs": {"quality": 0}}, "outputs.quality: input should be greater than or equal to 1"),
        ({"prompt": {"1": NODE}, "workflow": "text_to_image"}, "prompt: is a workflow, and there is one in workflow"),
        ({"prompt": "x", "files": [{"name": 'a".png', "data": ""}]}, "files[0].name: must be a plain relative file"),
        ({"prompt": "x", "files": [{"name": "a", "data": ""}] * 1001}, "files: list should have at most 1000 items"),
        ({"prompt": "x", "files": [{"name": "a", "url": "ftp://example.com/a"}]}, "url must begin with https://"),
        ({"prompt": "x", "files": [{"name": "a", "url": "https://a", "data": ""}]}, "one of them"),
        (
            {"prompt": "x", "files": [{"name": "a", "data": ""}, {"name": "a", "data": ""}]},
            "files[1].name: 'a' is there",
        ),
        ({"prompt": "x", "files": [{"name": "a", "data": ""}, {"name": "a/b", "data": ""}]}, "the folder of another"),
    ],
)
def test_inputs_that_cannot_be_run_are_refused_with_what_to_change(value: Any, says: str) -> None:
    with pytest.raises(InvalidJobInput) as caught:
        JobInput.parse(value)
    assert says in str(caught.value)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(InvalidJobInput) as caught:
        JobInput.parse({"prompt": 5, "files": [{}], "timeout_seconds": "soon"})
    assert len(caught.value.problems) == 3


def test_the_shapes_of_the_fields_other_workers_are_accepted() -> None:
    workflow = {"6": NODE}
    images = [{"name": "a.png", "image": "QQ=="}]
    request = JobInput.parse({"workflow": workflow, "images": images, "api_key_comfy_org": "key"})
    assert [(file.name, file.data) for file in request.files] == [("a.png", "QQ==")]
    assert request.comfy_org_api_key is not None
    assert request.comfy_org_api_key.get_secret_value() == "key"
    assert JobInput.parse({"prompt": workflow}).workflow == workflow
    assert JobInput.parse(json.dumps({"workflow": workflow})).workflow == workflow


def test_unknown_fields_are_told_with_the_nearest_known_name() -> None:
    request = JobInput.parse({"prompt": "x", "timeout_secs": 5, "progress": {"preview": True}, "zzz": 1})
    assert request.warnings() == [
        "timeout_secs: unknown field, ignored; did you mean timeout_seconds?",
        "zzz: unknown field, ignored",
        "progress.preview: unknown field, ignored; did you mean progress.previews?",
    ]


def test_keys_and_file_contents_stay_out_of_the_text_form() -> None:
    request = JobInput.parse(
        {"prompt": "x", "comfy_org_api_key": "s3cret", "files": [{"name": "a", "data": "c29tZXRoaW5n"}]}
    )
    assert "s3cret" not in repr(request)
    assert "c29tZXRoaW5n" not in repr(request)


@pytest.mark.parametrize(
    ("filename", "content_type"),
    [
        ("a.PNG", "image/png"),
        ("a.webp", "image/webp"),
        ("a.mp4", "video/mp4"),
        ("a.flac", "audio/flac"),
        ("a.glb", "model/gltf-binary"),
        ("a.unknown", "application/octet-stream"),
        ("none", "application/octet-stream"),
    ],
)
def test_content_types(filename: str, content_type: str) -> None:
    assert content_type_of(filename) == content_type


def test_json_safe_replaces_what_cannot_cross_a_wire() -> None:
    value = {"a\ud800": [float("nan"), float("inf"), 1.5, "x", "ż\udfff", None, True]}
    assert json_safe(value) == {"a?": [None, None, 1.5, "x", "ż?", None, True]}


def test_the_callers_name_for_a_job_comes_back_however_it_ended() -> None:
    assert JobInput.parse({"prompt": "x", "idempotency_key": "order:7.a-b_c"}).idempotency_key == "order:7.a-b_c"
    named, unnamed = Account(Timings(), {}, [], "order-7"), Account(Timings(), {}, [])
    worker, error = WorkerInfo("0.3.64", "emulator", "1"), InvalidJobInput(["no"])
    assert success_to_json(Outputs(), named, worker)["idempotency_key"] == "order-7"
    assert failure_to_json(error, named)["idempotency_key"] == "order-7"
    assert "idempotency_key" not in success_to_json(Outputs(), unnamed, worker)
    assert "idempotency_key" not in failure_to_json(error, unnamed)


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ({"idempotency_key": "order-7", "delivery": "pigeon"}, "order-7"),
        ({"idempotency_key": "two words"}, None),
        ({"idempotency_key": 7}, None),
        ({}, None),
        ("text", None),
    ],
)
def test_the_name_of_a_job_is_read_from_an_input_that_is_not_valid_too(sent: Any, key: str | None) -> None:
    assert idempotency_key_of(sent) == key
