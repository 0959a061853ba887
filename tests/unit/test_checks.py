"""Workflows against what a ComfyUI has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfypod.comfyui.catalogue import Catalogue, nearest
from comfypod.comfyui.checks import check_workflow
from comfypod.comfyui.node_packs import NodePacks
from comfypod.errors import ConfigurationError
from comfypod.schema.workflow import Workflow

SDXL = "sd_xl_base_1.0.safetensors"


def node_class(module: str = "nodes", output: bool = False, **inputs: Any) -> dict[str, Any]:
    return {"input": {"required": inputs}, "output_node": output, "python_module": module}


CATALOGUE = Catalogue(
    {
        "CheckpointLoaderSimple": node_class(ckpt_name=[[SDXL, "turbo/fast.safetensors"], {}]),
        "LoraLoader": node_class(lora_name=[["fox.safetensors"], {}], strength=["FLOAT", {"default": 1.0}]),
        "VAELoader": node_class(vae_name=[[], {}]),
        "KSampler": node_class(sampler_name=[["euler", "dpmpp_2m"], {}], seed=["INT", {}]),
        "NewKind": node_class(mode=["COMBO", {"options": ["a", "b"]}]),
        "LoadImage": node_class(image=[["example.png"], {"image_upload": True}]),
        "LoadLatent": node_class(latent=[[]]),
        "PackLoader": node_class("custom_nodes.pack", ckpt_name=[["x.gguf"], {}]),
        "Save": node_class(output=True, a=["*", {}], b=["*", {}]),
    },
    replaced=["OldName"],
)


def findings(class_type: str, **inputs: Any) -> Any:
    workflow = {
        "1": {"class_type": class_type, "inputs": inputs},
        "9": {"class_type": "Save", "inputs": {"a": ["1", 0]}},
    }
    return check_workflow(
        Workflow.parse(workflow), CATALOGUE, lambda name: "it belongs to a pack" if name == "Packed" else None
    )


def test_what_is_there_is_no_obstacle() -> None:
    for class_type, inputs in [
        ("CheckpointLoaderSimple", {"ckpt_name": SDXL}),
        ("KSampler", {"sampler_name": "euler", "seed": 5}),
        ("KSampler", {"sampler_name": ["7", 0]}),
        ("LoadImage", {"image": "job/photo.png"}),
        ("NewKind", {"mode": "b"}),
        ("OldName", {}),
    ]:
        assert findings(class_type, **inputs).obstacles == [], class_type


def test_an_unknown_class_is_told_with_the_nearest_ones_or_its_pack() -> None:
    assert findings("CheckpointLoaderSimpel").obstacles == [
        "node 1: this ComfyUI has no node class 'CheckpointLoaderSimpel'; did you mean CheckpointLoaderSimple?"
    ]
    assert "'Packed'; it belongs to a pack" in findings("Packed").obstacles[0]
    assert "install the custom node pack" in findings("ÄÖÜ").obstacles[0]


def test_a_value_that_is_not_in_its_list_is_told_with_the_nearest_ones() -> None:
    (sentence,) = findings("KSampler", sampler_name="Euler").obstacles
    assert sentence == "node 1 (KSampler): sampler_name 'Euler' is not available here; did you mean 'euler'?"
    assert findings("NewKind", mode="zzz").obstacles == [
        "node 1 (NewKind): mode 'zzz' is not available here; there is 'a', 'b'"
    ]


def test_a_missing_model_is_told_with_its_folder_and_where_it_does_lie() -> None:
    (item,) = findings("CheckpointLoaderSimple", ckpt_name="fast.safetensors").missing_models
    assert (item.folder, item.value) == ("checkpoints", "fast.safetensors")
    assert item.sentence.endswith("is not installed here; did you mean 'turbo/fast.safetensors'?")
    (item,) = findings("CheckpointLoaderSimple", ckpt_name="fox.safetensors").missing_models
    assert "lies where LoraLoader.lora_name looks, and this loader reads models/checkpoints" in item.sentence
    (item,) = findings("VAELoader", vae_name="kl.safetensors").missing_models
    assert item.sentence.endswith("and nothing else is: such files belong into models/vae")


def test_nodes_that_check_for_themselves_are_left_to_comfyui() -> None:
    custom = findings("PackLoader", ckpt_name="y.gguf")
    assert custom.obstacles == []
    assert len(custom.missing) == 1  # it explains what ComfyUI will say
    assert findings("LoadLatent", latent="job/a.latent").obstacles == []


def test_nodes_that_would_not_run_are_not_looked_at() -> None:
    workflow = {
        "1": {"class_type": "KSampler", "inputs": {"sampler_name": "nope"}},
        "9": {"class_type": "Save", "inputs": {}},
    }
    assert check_workflow(Workflow.parse(workflow), CATALOGUE, lambda _: None).obstacles == []


def test_the_nearest_names_are_found_whatever_their_case_and_folder() -> None:
    assert nearest("SD_XL_BASE_1.0.safetensors", ["a.safetensors", f"sdxl\\{SDXL}"]) == [f"sdxl\\{SDXL}"]
    assert nearest("entirely different", [SDXL]) == []


def test_a_class_is_explained_by_its_pack_or_by_what_failed_to_import(tmp_path: Path) -> None:
    path = tmp_path / "nodes.toml"
    path.write_text(
        f"""
        [[pack]]
        name = "VideoHelperSuite"
        repository = "https://example.com/vhs"
        commit = "{"0" * 40}"
        classes = ["VHS_*"]
        """
    )
    packs = NodePacks.load(path)
    assert "VideoHelperSuite (https://example.com/vhs)" in str(packs.explain("VHS_VideoCombine", {}))
    assert "other (No module named 'cv2')" in str(packs.explain("Other", {"other": "No module named 'cv2'"}))
    assert packs.explain("Other", {}) is None
    assert NodePacks.load(tmp_path / "none.toml").pack == []
    path.write_text("[[pack]]\nname = 5")
    with pytest.raises(ConfigurationError, match=r"pack.0.repository"):
        NodePacks.load(path)
