"""What is said of the inputs of a workflow's nodes: from recordings of ``/object_info``, and where they have none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from comfypod.comfyui.catalogue import Catalogue
from comfypod.comfyui.descriptions import LARGEST_CHOICES_BYTES, MOST_CHOICES, NodeDescriber
from comfypod.schema.description import Description, InputDescription
from comfypod.schema.workflow import Workflow
from comfypod.worker.workspace import Workspace, is_of_a_job

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "transcripts" / "0.33.0" / "object_info.json").read_text(encoding="utf-8")
)


def described(
    class_type: str,
    object_info: Mapping[str, Any] = RECORDED,
    models: Mapping[str, Sequence[str]] | None = None,
    **values: Any,
) -> Mapping[str, InputDescription]:
    workflow = Workflow.parse({"1": {"class_type": class_type, "inputs": values}})
    return NodeDescriber(Catalogue(object_info), models or {}, is_of_a_job).describe(workflow)["1"].inputs


def node_class(**inputs: Any) -> dict[str, Any]:
    return {"Own": {"input": {"required": inputs}, "python_module": "custom_nodes.own"}}


def test_a_sampler_has_numbers_with_their_range_choices_and_a_seed() -> None:
    inputs = described("KSampler", seed=7, model=["4", 0])
    assert list(inputs) == ["seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"]
    seed, cfg, sampler = inputs["seed"], inputs["cfg"], inputs["sampler_name"]
    assert (seed.type, seed.default, seed.minimum, seed.maximum, seed.step) == ("INT", 0, 0, 2**64 - 1, 1)
    assert seed.is_seed
    assert [name for name, item in inputs.items() if item.is_seed] == ["seed"]
    assert (cfg.type, cfg.default, cfg.minimum, cfg.maximum, cfg.step) == ("FLOAT", 8.0, 0.0, 100.0, 0.1)
    assert (sampler.type, sampler.default, sampler.is_cut) == ("COMBO", "euler", False)
    assert {"euler", "dpmpp_2m"} <= set(sampler.choices or ())
    assert "noise" in seed.tooltip


def test_a_text_of_several_lines() -> None:
    (text,) = described("CLIPTextEncode").values()
    assert (text.type, text.is_multiline, text.choices, text.default) == ("STRING", True, None, "")


@pytest.mark.parametrize(
    ("class_type", "name", "upload"),
    [("LoadImage", "image", "image"), ("LoadAudio", "audio", "audio"), ("LoadVideo", "file", "video")],
)
def test_files_that_may_come_with_the_job_are_told_by_kind(class_type: str, name: str, upload: str) -> None:
    item = described(class_type)[name]
    assert (item.type, item.upload) == ("COMBO", upload)


def test_both_forms_of_a_choice_are_read() -> None:
    assert isinstance(RECORDED["ImageScale"]["input"]["required"]["upscale_method"][0], list)
    assert RECORDED["ImageRotate"]["input"]["required"]["rotation"][0] == "COMBO"
    assert "bilinear" in (described("ImageScale")["upscale_method"].choices or ())
    assert described("ImageRotate")["rotation"].choices == ["none", "90 degrees", "180 degrees", "270 degrees"]


def test_an_option_that_is_chosen_brings_its_own_inputs() -> None:
    assert RECORDED["ResizeImageMaskNode"]["input"]["required"]["resize_type"][0] == "COMFY_DYNAMICCOMBO_V3"
    chosen = described("ResizeImageMaskNode", resize_type="scale by multiplier")
    assert chosen["resize_type"].type == "COMFY_DYNAMICCOMBO_V3"
    assert {"scale dimensions", "scale by multiplier"} <= set(chosen["resize_type"].choices or ())
    multiplier = chosen["resize_type.multiplier"]
    assert (multiplier.type, multiplier.default, multiplier.maximum) == ("FLOAT", 1.0, 8.0)
    other = described("ResizeImageMaskNode", resize_type="scale dimensions")
    assert "resize_type.multiplier" not in other
    assert other["resize_type.width"].type == "INT"
    linked = described("ResizeImageMaskNode", resize_type=["7", 0])
    assert [name for name in linked if name.startswith("resize_type.")] == []


def test_every_recorded_class_is_described_as_json() -> None:
    workflow = Workflow.parse({name: {"class_type": name, "inputs": {}} for name in RECORDED})
    nodes = NodeDescriber(Catalogue(RECORDED), {}, is_of_a_job).describe(workflow)
    document = json.loads(json.dumps(Description(workflow.nodes, {}, nodes, []).to_json(), allow_nan=False))
    assert {node["class_type"] for node in document["nodes"].values()} == set(RECORDED)
    assert all(node["is_known"] for node in document["nodes"].values())


def test_an_unknown_class_and_one_that_comfyui_replaces() -> None:
    workflow = Workflow.parse({key: {"class_type": key, "inputs": {"a": 1}} for key in ("Unheard", "Replaced")})
    nodes = NodeDescriber(Catalogue({}, ["Replaced"]), {}, is_of_a_job).describe(workflow)
    assert {key: (node.is_known, node.inputs) for key, node in nodes.items()} == {
        "Unheard": (False, {}),
        "Replaced": (True, {}),
    }


def test_models_that_can_be_fetched_are_choices_of_the_loader_of_their_folder() -> None:
    catalogue = {
        "CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": [["here.safetensors"], {}]}}},
        "VAELoader": {"input": {"required": {"vae_name": ["COMBO", {"options": []}]}}},
    }
    models = {"checkpoints": ["here.safetensors", "far.safetensors"], "vae": ["vae.safetensors"]}
    assert described("CheckpointLoaderSimple", catalogue, models)["ckpt_name"].choices == [
        "here.safetensors",
        "far.safetensors",
    ]
    item = described("VAELoader", catalogue, models)["vae_name"]
    assert (item.choices, item.default) == (["vae.safetensors"], "vae.safetensors")
    assert described("VAELoader", catalogue)["vae_name"].choices == []


def test_endless_lists_are_cut_and_it_is_said() -> None:
    item = described("Own", node_class(a=[list(range(50_000)), {}]))["a"]
    assert item.choices == list(range(MOST_CHOICES))
    assert item.is_cut
    exact = described("Own", node_class(a=[list(range(MOST_CHOICES)), {}]))["a"]
    assert not exact.is_cut


def test_all_choices_together_are_bounded() -> None:
    names = ["x" * 1000 + str(number) for number in range(MOST_CHOICES)]
    catalogue = Catalogue(node_class(a=[names, {}], b=[["short"], {}]))
    nodes = {str(number): {"class_type": "Own", "inputs": {}} for number in range(5)}
    found = NodeDescriber(catalogue, {}, is_of_a_job).describe(Workflow.parse(nodes))
    told = [choice for node in found.values() for item in node.inputs.values() for choice in item.choices or ()]
    assert len(json.dumps(told)) < LARGEST_CHOICES_BYTES + 2 * len(told)
    assert found["4"].inputs["a"].is_cut
    assert not found["0"].inputs["b"].is_cut


def test_the_names_of_other_jobs_files_are_no_choices() -> None:
    folder = Workspace("6f1c-u1", None).folder
    private = [f"{folder}-clip.latent", f"{folder}/photo.png", f"sub/{folder}/photo.png", folder]
    item = described("Own", node_class(a=[[*private, "job-offer.png", "kept.png"], {}]))["a"]
    assert item.choices == ["job-offer.png", "kept.png"]
    assert item.default == "job-offer.png"


def test_what_is_only_a_socket_or_a_button_is_left_out() -> None:
    inputs = described(
        "Own",
        node_class(
            image=["IMAGE", {}],
            text=["STRING", {"forceInput": True}],
            upload=["IMAGEUPLOAD", {}],
            value=["INT", {"default": 3}],
        ),
    )
    assert list(inputs) == ["value"]


def test_what_is_declared_wrongly_harms_nobody() -> None:
    inputs = described(
        "Own",
        node_class(
            a=["INT", {"min": "low", "max": float("inf"), "step": None, "default": None, "tooltip": 5}],
            b="STRING",
            c=[],
            d=["COMBO", {"options": None}],
            e=["COMBO", {"remote": {"route": "/x"}}],
            f=["FLOAT", {"max": True}],
        ),
        b={"__value__": [1]},
    )
    assert (inputs["a"].minimum, inputs["a"].maximum, inputs["a"].default) == (None, None, 0)
    assert (inputs["d"].choices, inputs["d"].default) == ([], None)
    assert inputs["e"].choices is None
    assert inputs["f"].maximum is None


def test_the_seed_is_what_the_page_draws_anew() -> None:
    inputs = described(
        "Own",
        node_class(
            seed=["INT", {}],
            noise_seed=["INT", {"control_after_generate": False}],
            variation=["INT", {"control_after_generate": True}],
            frame=["FLOAT", {"control_after_generate": True}],
        ),
    )
    assert [name for name, item in inputs.items() if item.is_seed] == ["seed", "variation"]
