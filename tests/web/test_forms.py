"""Forms: which fields a template or a workflow has, what they are called, and what the endpoint adds."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from comfypod import Client
from comfypod.errors import InvalidJobInput, InvalidWorkflow
from comfypod.schema.template import load_template, templates_folder
from comfypod.schema.workflow import Workflow
from comfypod.web.forms.fields import Described, Field
from comfypod.web.forms.forms import Descriptions, Form, template_fields, workflow_fields
from comfypod.web.forms.templates import Templates
from comfypod.web.runs.service import Runs, RunsOptions
from tests.cloud.scripted_runpod import ScriptedRunPod
from tests.web.run_site import ROOT, SECONDS, runs_at

TEMPLATE = load_template(ROOT / "workflows", "text_to_image")
CHECKPOINTS = ["fox.safetensors", "sd_xl_base_1.0.safetensors"]
NODES = {
    "4": {"ckpt_name": {"type": "COMBO", "choices": CHECKPOINTS, "default": CHECKPOINTS[0]}},
    "3": {
        "seed": {"type": "INT", "default": 0, "minimum": 0, "maximum": 2**64 - 1, "step": 1, "is_seed": True},
        "steps": {"type": "INT", "default": 20, "minimum": 1, "maximum": 10000, "step": 1, "tooltip": "How many."},
        "cfg": {"type": "FLOAT", "default": 8.0, "minimum": 0.0, "maximum": 100.0, "step": 0.1},
        "sampler_name": {"type": "COMBO", "choices": ["euler", "dpmpp_2m"], "default": "euler"},
    },
    "6": {"text": {"type": "STRING", "default": "", "is_multiline": True}},
}


def workflow(**changes: Any) -> Workflow:
    return Workflow.parse({**copy.deepcopy(TEMPLATE.workflow), **changes})


def described() -> Descriptions:
    classes = {"4": "CheckpointLoaderSimple", "3": "KSampler", "6": "CLIPTextEncode"}
    return {
        classes[node_id]: {name: Described.model_validate(item) for name, item in inputs.items()}
        for node_id, inputs in NODES.items()
    }


def by_name(fields: list[Field]) -> dict[str, Field]:
    return {field.name: field for field in fields}


def test_a_templates_parameters_are_its_fields_in_its_order() -> None:
    fields = template_fields(TEMPLATE, {})
    assert [field.name for field in fields] == list(TEMPLATE.parameters)
    named = by_name(fields)
    assert (named["prompt"].kind, named["prompt"].label, named["prompt"].is_main) == ("longtext", "Prompt", True)
    assert (named["negative_prompt"].label, named["negative_prompt"].default) == ("Negative prompt", "")
    width = named["width"]
    assert (width.kind, width.default, width.minimum, width.maximum, width.multiple_of) == (
        "integer",
        1024,
        64,
        2048,
        8,
    )
    assert (named["seed"].kind, named["seed"].default, named["seed"].is_main) == ("seed", "random", True)
    assert (named["cfg"].kind, named["cfg"].label, named["cfg"].is_main) == ("number", "CFG", False)
    assert (named["checkpoint"].kind, named["checkpoint"].choices) == ("text", None)


def test_the_endpoint_adds_what_the_template_leaves_open() -> None:
    named = by_name(template_fields(TEMPLATE, described()))
    assert (named["checkpoint"].kind, named["checkpoint"].choices) == ("choice", CHECKPOINTS)
    assert (named["steps"].maximum, named["steps"].step, named["steps"].description) == (100, 1, "How many.")
    assert named["seed"].maximum == 2**53 - 1  # what a browser can have


def test_a_workflows_inputs_are_its_fields_and_links_are_none() -> None:
    fields = workflow_fields(workflow(), {})
    named = by_name(fields)
    assert [field.name for field in fields if field.is_main] == ["6.text", "7.text", "5.width", "5.height", "3.seed"]
    assert not {"3.model", "3.positive", "8.samples"} & named.keys()
    assert (named["6.text"].label, named["6.text"].kind, named["6.text"].group) == ("Prompt", "longtext", "Prompt")
    assert (named["3.steps"].kind, named["3.cfg"].kind, named["3.sampler_name"].kind) == ("integer", "number", "text")
    assert (named["3.steps"].group, named["3.steps"].is_main) == ("KSampler", False)
    assert (named["4.ckpt_name"].kind, named["4.ckpt_name"].label) == ("text", "Checkpoint")


def test_prompts_without_titles_are_called_what_they_are_for() -> None:
    nodes = copy.deepcopy(TEMPLATE.workflow)
    nodes["6"], nodes["7"] = nodes["7"], nodes["6"]  # the negative one comes first in the document
    nodes["3"]["inputs"] |= {"positive": ["7", 0], "negative": ["6", 0]}
    nodes["6"].pop("_meta")
    nodes["7"]["_meta"]["title"] = "CLIP Text Encode (Prompt)"
    fields = workflow_fields(Workflow.parse(nodes), {})
    assert [(field.name, field.label) for field in fields[:2]] == [("7.text", "Prompt"), ("6.text", "Negative prompt")]


@pytest.mark.parametrize(
    ("class_type", "inputs", "kind"),
    [
        ("LoadImage", {"image": "example.png", "upload": "image"}, "image"),
        ("LoadImageMask", {"image": "mask.png", "channel": "red"}, "mask"),
        ("LoadAudio", {"audio": "song.mp3"}, "audio"),
        ("LoadVideo", {"file": "clip.mp4"}, "video"),
    ],
)
def test_files_are_brought_and_not_named(class_type: str, inputs: dict[str, Any], kind: str) -> None:
    name = next(iter(inputs))
    named = by_name(workflow_fields(workflow(**{"10": {"class_type": class_type, "inputs": inputs}}), {}))
    field = named[f"10.{name}"]
    assert (field.kind, field.default, field.is_main) == (kind, None, True)
    assert "10.upload" not in named


def test_a_file_that_the_endpoint_has_is_the_default() -> None:
    said = {"LoadImage": {"image": Described(type="COMBO", choices=["example.png"], upload="image")}}
    node = {"class_type": "LoadImage", "inputs": {"image": "example.png"}}
    assert by_name(workflow_fields(workflow(**{"10": node}), said))["10.image"].default == "example.png"


def test_named_parameters_of_a_workflow_go_by_their_names() -> None:
    text = {"class_type": "ComfypodText", "inputs": {"name": "headline", "value": "Hello", "default": "Hi"}}
    number = {"class_type": "ComfypodNumber", "inputs": {"name": "strength", "value": 0.5}}
    named = by_name(workflow_fields(workflow(**{"20": text, "21": number}), {}))
    assert (named["headline"].label, named["headline"].default, named["headline"].is_main) == (
        "Headline",
        "Hello",
        True,
    )
    assert (named["strength"].kind, named["strength"].default) == ("number", 0.5)
    assert not {"20.name", "20.value", "20.default", "21.name"} & named.keys()
    workflow(**{"20": text}).with_inputs({"headline": "set"})  # by this name it is set


def test_every_field_of_a_workflow_can_be_set_by_its_name() -> None:
    odd = {"class_type": "Odd", "inputs": {"resize.width": 5, "mode": None, "list": [1, 2, 3], "on": True, "n": 1.5}}
    made = workflow(**{"57:8": odd, "a.b": odd})
    named = by_name(workflow_fields(made, {}))
    assert {"57:8.resize.width", "a.b.resize.width", "57:8.on"} <= named.keys()
    assert named["57:8.on"].kind == "boolean"
    assert not {"57:8.mode", "57:8.list"} & named.keys()
    made.with_inputs({name: field.default for name, field in named.items()})


def test_seeds_that_a_browser_would_change_are_drawn() -> None:
    nodes = copy.deepcopy(TEMPLATE.workflow)
    nodes["3"]["inputs"]["seed"] = 2**63
    seed = by_name(workflow_fields(Workflow.parse(nodes), described()))["3.seed"]
    assert (seed.default, seed.minimum, seed.maximum) == ("random", 0, 2**53 - 1)


def test_only_what_the_worker_can_do_with_an_input_is_offered() -> None:
    said = {
        "Odd": {
            "other_seed": Described(type="INT", is_seed=True, minimum=0, maximum=100),
            "codec": Described(type="COMFY_DYNAMICCOMBO_V3", choices=["h264", "vp9"]),
        }
    }
    node = {"class_type": "Odd", "inputs": {"other_seed": 5, "codec": "h264"}}
    named = by_name(workflow_fields(workflow(**{"20": node}), said))
    assert named["20.other_seed"].kind == "integer", "the worker would not draw it"
    assert "20.codec" not in named, "another choice would need other inputs"


def test_a_huge_workflow_has_a_form_all_the_same() -> None:
    nodes = {str(number): {"class_type": "X", "inputs": {"a": 1, "b": 2}} for number in range(5_000)}
    assert len(workflow_fields(Workflow.parse(nodes), {})) == 1_000


@pytest.fixture
async def runs(client: Client, tmp_path: Path) -> AsyncIterator[Runs]:
    async with runs_at(client, tmp_path) as runs:
        yield runs


def test_templates_of_the_place_come_before_those_that_came_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert [template.name for template in Templates(templates_folder()).all()] == ["text_to_image", "upscale"]
    (tmp_path / "workflows").mkdir()
    assert Templates(templates_folder()).all() == []


async def test_templates_are_offered_the_default_one_first(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    document = TEMPLATE.model_dump()
    for name in ("another", "text_to_image"):
        (folder / f"{name}.json").write_text(json.dumps({**document, "name": name}), encoding="utf-8")
    (folder / "broken.json").write_text("{", encoding="utf-8")
    async with Runs(client, tmp_path / "data", RunsOptions(templates_folder=folder)) as runs:
        templates = await runs.templates()
    assert [template.name for template in templates] == ["text_to_image", "another"]
    assert templates[0].description == TEMPLATE.description
    assert templates[0].fields[0].name == "prompt"


async def test_a_form_without_asking(runs: Runs, platform: ScriptedRunPod) -> None:
    form = await runs.form("text_to_image")
    assert (form.title, form.is_described, form.notes) == ("Text to image", False, [])
    dropped = await runs.form(TEMPLATE.workflow)
    assert (dropped.workflow, dropped.title) == (TEMPLATE.workflow, "Workflow")
    in_job = await runs.form({"input": {"workflow": TEMPLATE.workflow}})
    assert (in_job.workflow, in_job.fields) == (dropped.workflow, dropped.fields)
    assert in_job.notes == ["This was a job; the workflow in it is shown."]
    in_template = await runs.form(TEMPLATE.model_dump())
    assert (in_template.workflow, in_template.fields) == (dropped.workflow, dropped.fields)
    saved = await runs.form({"nodes": [], "links": []})
    assert (saved.workflow, saved.fields, len(saved.notes)) == (None, [], 1)
    assert not platform.calls


@pytest.mark.parametrize("given", [{}, {"1": 2}, {"input": {}}, {"input": {"workflow": "../x"}}, {"prompt": "x"}])
async def test_what_is_no_workflow_has_no_form(runs: Runs, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidWorkflow):
        await runs.form(given)


async def test_names_of_templates_are_no_paths(runs: Runs) -> None:
    for name in ("../workflows/text_to_image", "/etc/passwd", "workflows/text_to_image.json", ""):
        with pytest.raises(InvalidJobInput):
            await runs.form(name)


async def test_what_the_endpoint_says_is_kept_for_the_next_time(runs: Runs, platform: ScriptedRunPod) -> None:
    classes = {node_id: node["class_type"] for node_id, node in TEMPLATE.workflow.items()}
    nodes = {
        node_id: {"class_type": name, "title": name, "is_known": True, "inputs": NODES.get(node_id, {})}
        for node_id, name in classes.items()
    }
    description = {"workflow": TEMPLATE.workflow, "parameters": {}, "nodes": nodes, "problems": ["It has a problem."]}
    output = {"status": "success", "description": description}
    platform.on_status = lambda job: job.update({"status": "COMPLETED", "output": output})
    form = await _within(runs.form({"nodes": [], "links": []}, ask=True))
    assert platform.bodies[0]["input"]["describe"] is True
    assert (form.is_described, form.notes) == (True, ["It has a problem."])
    assert form.workflow == TEMPLATE.workflow
    assert by_name(form.fields)["4.ckpt_name"].choices == CHECKPOINTS
    again = await runs.form("text_to_image")
    assert again.is_described
    assert by_name(again.fields)["checkpoint"].choices == CHECKPOINTS
    (listed, *_) = await runs.templates()
    assert by_name(listed.fields)["checkpoint"].choices == CHECKPOINTS
    assert platform.calls["POST run"] == 1


async def test_an_endpoint_that_does_not_say_is_a_note(runs: Runs, platform: ScriptedRunPod) -> None:
    failed = {"status": "FAILED", "error": "no GPU", "output": {}}
    platform.on_status = lambda job: job.update(failed)
    form = await _within(runs.form("text_to_image", ask=True))
    assert (form.is_described, form.notes) == (False, ["The endpoint has not said what it has: no GPU"])
    assert len(form.fields) == len(TEMPLATE.parameters)
    saved = await _within(runs.form({"nodes": [], "links": []}, ask=True))
    assert (saved.workflow, saved.notes) == (None, ["The endpoint has not said what it has: no GPU"])


async def _within(work: Any) -> Form:
    async with asyncio.timeout(SECONDS):
        form: Form = await work
    return form
