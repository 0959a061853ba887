"""What a workflow's nodes tell: the files that it loads, and how much there is to do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from comfypod.batch.documents import Signature
from comfypod.batch.manifest.facts import KnownWorkflows, facts_of
from comfypod.batch.manifest.library import Assets, ModelLibrary
from comfypod.batch.manifest.work import MOST_WORK
from comfypod.schema.workflow import Workflow
from comfypod.storage.models.manifest import ModelManifest
from tests.batch.manifest.making import MODELS, Nodes, node, picture_workflow

FILES = {
    "diffusion_models": ["flux.safetensors", "flux-q4.gguf"],
    "text_encoders": ["clip_l.safetensors", "t5xxl.safetensors", "a.safetensors", "b.safetensors"],
    "vae": ["ae.safetensors"],
    "controlnet": ["canny.safetensors"],
    "clip_vision": ["vision.safetensors"],
    "style_models": ["redux.safetensors"],
    "upscale_models": ["4x.pth"],
    "loras": ["sub/turbo.safetensors"],
    "hypernetworks": ["old.pt"],
    "gligen": ["boxes.safetensors"],
    "audio_encoders": ["wav2vec.safetensors"],
    "ultralytics": ["bbox/face.pt"],
    "embeddings": ["bad-hands.pt", "deep/tired.safetensors"],
}


def library(**options: Any) -> ModelLibrary:
    tables = [
        f'[[model]]\nname = "{name}"\nfolder = "{folder}"\nurl = "https://e.example/{name}"\n'
        for folder, names in FILES.items()
        for name in names
    ]
    others = MODELS.replace('name = "bad-hands.pt"', 'name = "worse-hands.pt"')
    return ModelLibrary(ModelManifest.parse(others + "\n".join(tables)), **options)


LIBRARY = library()


def assets_of(nodes: Nodes, **options: Any) -> Assets:
    return facts_of(Workflow.parse(nodes), library(**options))[0].assets


def work_of(nodes: Nodes) -> float:
    return facts_of(Workflow.parse(nodes), library())[0].work


def test_files_stand_in_the_order_in_which_loaders_need_them() -> None:
    assert assets_of(picture_workflow()).keys == (
        "checkpoints/base.safetensors",
        "loras/style.safetensors",
        "loras/detail.safetensors",
        "vae/fine.safetensors",
    )


@pytest.mark.parametrize(
    ("class_type", "inputs", "expected"),
    [
        ("UNETLoader", {"unet_name": "flux.safetensors"}, ["diffusion_models/flux.safetensors"]),
        ("UnetLoaderGGUF", {"unet_name": "flux-q4.gguf"}, ["diffusion_models/flux-q4.gguf"]),
        ("CLIPLoader", {"clip_name": "clip_l.safetensors"}, ["text_encoders/clip_l.safetensors"]),
        (
            "DualCLIPLoader",
            {"clip_name1": "clip_l.safetensors", "clip_name2": "t5xxl.safetensors"},
            ["text_encoders/clip_l.safetensors", "text_encoders/t5xxl.safetensors"],
        ),
        (
            "QuadrupleCLIPLoader",
            {f"clip_name{n}": f"{name}.safetensors" for n, name in enumerate(["clip_l", "t5xxl", "a", "b"], 1)},
            [f"text_encoders/{name}.safetensors" for name in ("clip_l", "t5xxl", "a", "b")],
        ),
        ("VAELoader", {"vae_name": "ae.safetensors"}, ["vae/ae.safetensors"]),
        ("VAELoader", {"vae_name": "taesd"}, []),
        ("ControlNetLoader", {"control_net_name": "canny.safetensors"}, ["controlnet/canny.safetensors"]),
        ("CLIPVisionLoader", {"clip_name": "vision.safetensors"}, ["clip_vision/vision.safetensors"]),
        ("StyleModelLoader", {"style_model_name": "redux.safetensors"}, ["style_models/redux.safetensors"]),
        ("UpscaleModelLoader", {"model_name": "4x.pth"}, ["upscale_models/4x.pth"]),
        ("LoraLoaderModelOnly", {"lora_name": "sub\\turbo.safetensors"}, ["loras/sub/turbo.safetensors"]),
        ("LoraLoader", {"lora_name": "None"}, []),
        ("HypernetworkLoader", {"hypernetwork_name": "old.pt"}, ["hypernetworks/old.pt"]),
        ("GLIGENLoader", {"gligen_name": "boxes.safetensors"}, ["gligen/boxes.safetensors"]),
        ("AudioEncoderLoader", {"audio_encoder_name": "wav2vec.safetensors"}, ["audio_encoders/wav2vec.safetensors"]),
        ("UltralyticsDetectorProvider", {"model_name": "bbox/face.pt"}, ["ultralytics/bbox/face.pt"]),
        (
            "Power Lora Loader (rgthree)",
            {
                "lora_1": {"on": True, "lora": "sub/turbo.safetensors", "strength": 1},
                "lora_2": {"on": False, "lora": "style.safetensors", "strength": 1},
            },
            ["loras/sub/turbo.safetensors"],
        ),
        ("CLIPTextEncode", {"text": "fox (embedding:bad-hands:1.2)"}, ["embeddings/bad-hands.pt"]),
        (
            "CLIPTextEncode",
            {"text": "embedding:deep/tired, embedding:bad-hands.pt"},
            ["embeddings/deep/tired.safetensors", "embeddings/bad-hands.pt"],
        ),
        ("SaveImage", {"filename_prefix": "x"}, []),
    ],
)
def test_loaders_are_known_by_their_inputs(class_type: str, inputs: dict[str, Any], expected: list[str]) -> None:
    found = assets_of({"1": node(class_type, **inputs), "2": node("SaveImage", images=["1", 0])})
    assert (list(found.keys), found.problems, found.notes) == (expected, (), ())


def test_a_loader_that_nobody_uses_loads_nothing() -> None:
    nodes = picture_workflow()
    nodes["20"] = node("LoraLoader", lora_name="sub/turbo.safetensors", model=["10", 0], clip=["10", 1])
    assert assets_of(nodes).keys == assets_of(picture_workflow()).keys


def test_a_name_may_come_from_a_node_that_holds_it() -> None:
    nodes = picture_workflow(n4={"ckpt_name": ["30", 0]})
    nodes["30"] = node("ComfypodText", name="checkpoint", value="other/anime.safetensors")
    assert "checkpoints/other/anime.safetensors" in assets_of(nodes).keys
    nodes["30"] = node("RandomChoice", a="x", b="y")
    found = assets_of(nodes)
    assert not [key for key in found.keys if key.startswith("checkpoints/")]
    assert found.notes == (
        "node 4 (CheckpointLoaderSimple): ckpt_name is computed by another node; name its file in the row's assets",
    )


def test_a_name_that_is_not_listed_is_a_problem_where_comfyui_would_refuse_it() -> None:
    (problem,) = assets_of(picture_workflow(n10={"lora_name": "base.safetensors"})).problems
    assert (
        "'base.safetensors' is not in models.toml as a file of loras (there is checkpoints/base.safetensors)" in problem
    )
    nodes = {"1": node("SomeDetector", model_name="face.onnx"), "2": node("SaveImage", images=["1", 0])}
    (note,) = assets_of(nodes).notes
    assert note.startswith("node 1 (SomeDetector): model_name 'face.onnx' is not in models.toml")
    assert assets_of(nodes).problems == ()
    assert assets_of(picture_workflow(n10={"lora_name": "new.safetensors"}), accepts_unknown=True).problems == ()


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/x.safetensors", "a//b.pt", "C:\\x.pt", ".x.pt"])
def test_a_name_that_leads_out_of_its_folder_is_never_an_asset(name: str) -> None:
    found = assets_of(picture_workflow(n10={"lora_name": name}), accepts_unknown=True)
    assert "leads out of the folder of models" in found.problems[0]


def test_hostile_workflows_end() -> None:
    chain: Nodes = {str(i): node("X", images=[str(i + 1), 0], steps=5, scale_by=3.0) for i in range(9000)}
    chain["9000"] = node("LoadImage", image="x.png", width=["9000", 0], height=["8999", 0])
    assert 0 < work_of(chain) <= MOST_WORK
    circle = {"1": node("KSampler", steps=5, latent_image=["2", 0]), "2": node("Y", samples=["1", 0], width=["2", 0])}
    assert work_of(circle) > 0
    odd = picture_workflow(n5={"width": -3, "height": True, "batch_size": 1e300}, n3={"steps": "many", "denoise": None})
    assert 0 < work_of(odd) <= MOST_WORK


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 20.0),
        ({"n3": {"steps": 7}}, 7.0),
        ({"n5": {"width": 500, "batch_size": 4}}, 40.0),
        ({"n3": {"denoise": 0.5}}, 20.0),
        ({"n3": {"denoise": 0}}, pytest.approx(0, abs=1e-3)),
        ({"n5": {"length": 33}}, 9 * 20.0),
    ],
)
def test_work_is_megapixels_times_steps(changes: dict[str, Any], expected: float) -> None:
    assert work_of(picture_workflow(**changes)) == expected


def test_work_counts_every_sampler_with_the_size_that_it_gets() -> None:
    nodes = picture_workflow(n8={"samples": ["22", 0]})
    nodes["21"] = node("LatentUpscaleBy", samples=["3", 0], scale_by=1.5)
    nodes["22"] = node("KSampler", steps=10, denoise=0.5, latent_image=["21", 0], model=["11", 0])
    assert work_of(nodes) == pytest.approx(20 + 10 * 2.25)
    nodes["21"] = node("LatentUpscale", samples=["3", 0], width=2000, height=1000)
    assert work_of(nodes) == pytest.approx(20 + 10 * 2)
    nodes["21"] = node("RepeatLatentBatch", samples=["3", 0], amount=3)
    assert work_of(nodes) == pytest.approx(20 + 10 * 3)


def test_work_of_an_advanced_sampler_is_that_of_its_part() -> None:
    nodes = picture_workflow()
    nodes["3"]["class_type"] = "KSamplerAdvanced"
    nodes["3"]["inputs"] |= {"start_at_step": 5, "end_at_step": 10_000}
    assert work_of(nodes) == 15.0
    nodes["3"]["inputs"]["end_at_step"] = 9
    assert work_of(nodes) == 4.0


def test_work_of_a_sampler_with_sigmas_is_that_of_their_scheduler() -> None:
    nodes = picture_workflow()
    nodes["3"] = node("SamplerCustomAdvanced", sigmas=["40", 0], latent_image=["5", 0], guider=["41", 0])
    nodes["40"] = node("BasicScheduler", steps=8, denoise=1.0, scheduler="simple", model=["11", 0])
    assert work_of(nodes) == 8.0
    nodes["42"] = node("SplitSigmas", sigmas=["40", 0], step=3)
    nodes["3"]["inputs"]["sigmas"] = ["42", 1]
    assert work_of(nodes) == 5.0
    nodes["3"]["inputs"]["sigmas"] = ["42", 0]
    assert work_of(nodes) == 3.0


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                ["3.steps", "5.width", "5.batch_size", "4.ckpt_name", "10.lora_name", "6.text", "9.filename_prefix"]
            ),
            st.sampled_from(
                [
                    1,
                    1.0,
                    True,
                    None,
                    30,
                    "base.safetensors",
                    "style.safetensors",
                    "embedding:bad-hands",
                    ["31", 0],
                    {"a": 1},
                ]
            ),
            max_size=3,
        ),
        min_size=2,
        max_size=8,
    )
)
@example([{"5.width": 1}, {"5.width": True}])
@settings(max_examples=40)
def test_what_is_kept_of_one_workflow_is_true_of_others_alike(changes: list[dict[str, Any]]) -> None:
    known = KnownWorkflows(LIBRARY)
    for change in changes:
        nodes = picture_workflow()
        nodes["31"] = node("PrimitiveString", value=change.get("6.text"))
        for place, value in change.items():
            node_id, _, name = place.partition(".")
            nodes[node_id]["inputs"][name] = value
        workflow = Workflow.parse(nodes)
        assert known.of(workflow)[0] == facts_of(workflow, LIBRARY)[0]


def test_work_is_one_where_nothing_is_sampled() -> None:
    assert work_of({"1": node("LoadImage", image="x.png"), "2": node("SaveImage", images=["1", 0])}) == 1.0


def test_a_size_that_comes_from_elsewhere_is_followed() -> None:
    nodes = picture_workflow(n5={"width": ["50", 0], "height": ["50", 0]})
    nodes["50"] = node("PrimitiveInt", value=2000)
    assert work_of(nodes) == 80.0
    nodes["50"] = node("GetImageSize", image=["9", 0])
    assert work_of(nodes) == pytest.approx(20 * 1.048576)


def test_groups_are_the_same_in_whatever_order_files_are_named() -> None:
    group = Signature.of(["loras/b", "vae/x", "checkpoints/a", "loras/a", "embeddings/e", "loras/a"])
    assert group.bases == ("checkpoints/a", "vae/x")
    assert group.patches == ("embeddings/e", "loras/a", "loras/b")
    assert Signature.of(reversed(group.assets)) == group
