"""The nodes of the usual workflows, chained as the engine chains them, and the declarations of all nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from comfypod.emulator.nodes import NODE_CLASSES
from comfypod.emulator.nodes.base import NodeResult

CallNode = Callable[..., NodeResult]

WIDGETS = {"sampler_name": "euler", "scheduler": "normal"}


def text_to_image(call: CallNode, prompt: str, *, lora_strengths: tuple[float, float] | None = None) -> np.ndarray:
    model, clip, vae = call("CheckpointLoaderSimple", ckpt_name="a.safetensors").outputs
    if lora_strengths:
        strengths = dict(zip(("strength_model", "strength_clip"), lora_strengths, strict=True))
        model, clip = call("LoraLoader", model=model, clip=clip, lora_name="ink.safetensors", **strengths).outputs
    (positive,) = call("CLIPTextEncode", text=prompt, clip=clip).outputs
    (negative,) = call("CLIPTextEncode", text="", clip=clip).outputs
    (latent,) = call("EmptyLatentImage", width=128, height=96).outputs
    (sampled,) = call(
        "KSampler", model=model, positive=positive, negative=negative, latent_image=latent, **WIDGETS
    ).outputs
    return call("VAEDecode", samples=sampled, vae=vae).outputs[0]


def test_text_to_image(call: CallNode, context: Any) -> None:
    image = text_to_image(call, "a red circle on blue")
    assert image.shape == (1, 96, 128, 3)
    assert image.dtype == np.float32
    assert 0 <= image.min() < image.max() <= 1
    assert image[0, 48, 64, 0] > 0.7
    assert image[0, 48, 64, 2] < 0.4
    assert context.steps == [(step, 20) for step in range(1, 21)]


def test_lora_loader_changes_the_picture_unless_its_strengths_are_zero(call: CallNode) -> None:
    plain = text_to_image(call, "a fox")
    assert np.array_equal(text_to_image(call, "a fox", lora_strengths=(0.0, 0.0)), plain)
    assert np.abs(text_to_image(call, "a fox", lora_strengths=(1.0, 0.0)) - plain).mean() > 0.02
    assert np.abs(text_to_image(call, "a fox", lora_strengths=(0.0, 1.0)) - plain).mean() > 0.005


def test_model_only_lora_does_to_the_model_what_the_full_one_does(call: CallNode) -> None:
    model, clip, _ = call("CheckpointLoaderSimple", ckpt_name="a.safetensors").outputs
    (alone,) = call("LoraLoaderModelOnly", model=model, lora_name="ink.safetensors", strength_model=0.5).outputs
    both, same_clip = call(
        "LoraLoader", model=model, clip=clip, lora_name="ink.safetensors", strength_model=0.5, strength_clip=0.0
    ).outputs
    assert alone == both != model
    assert same_clip == clip


def test_vae_encode_cuts_to_multiples_of_eight_around_the_centre(call: CallNode) -> None:
    (_, _, vae) = call("CheckpointLoaderSimple", ckpt_name="a.safetensors").outputs
    image = np.random.default_rng(0).random((2, 30, 21, 3), dtype=np.float32)
    (latent,) = call("VAEEncode", pixels=image, vae=vae).outputs
    assert latent["samples"].shape == (2, 4, 3, 2)
    (decoded,) = call("VAEDecode", samples=latent, vae=vae).outputs
    assert np.allclose(decoded, image[:, 3:27, 2:18], atol=0.002)
    with pytest.raises(ValueError, match="too small"):
        call("VAEEncode", pixels=image[:, :7], vae=vae)


@pytest.mark.parametrize(
    ("width", "height", "cells"),
    [(256, 256, (32, 32)), (0, 0, (16, 8)), (256, 0, (32, 8)), (0, 128, (256 // 8, 16)), (1, 1, (8, 8))],
)
@pytest.mark.parametrize("is_empty", [True, False])
def test_latent_upscale_has_comfyuis_sizes(
    call: CallNode, width: int, height: int, cells: tuple[int, int], is_empty: bool
) -> None:
    # 16 x 8 cells. With one side 0, ComfyUI takes the ratio of cells but at least 64 pixels for each side.
    (latent,) = call("EmptyLatentImage", width=128, height=64).outputs
    if not is_empty:
        latent = call("VAEEncode", pixels=np.full((1, 64, 128, 3), 0.75, np.float32), vae=None).outputs[0]
    if width == 256 and height == 0:
        cells = (32, 128 // 8)
    (scaled,) = call(
        "LatentUpscale", samples=latent, upscale_method="bislerp", width=width, height=height, crop="disabled"
    ).outputs
    assert scaled["samples"].shape == (1, 4, cells[1], cells[0])
    if not is_empty:
        assert call("VAEDecode", samples=scaled, vae=None).outputs[0] == pytest.approx(0.75, abs=0.01)


def test_latent_upscale_by_rounds_cells(call: CallNode) -> None:
    (latent,) = call("EmptyLatentImage", width=72, height=64).outputs
    (scaled,) = call("LatentUpscaleBy", samples=latent, upscale_method="bilinear", scale_by=1.5).outputs
    assert scaled["samples"].shape == (1, 4, 12, 14)  # 9 * 1.5 = 13.5, rounded to even


def test_empty_latents_decode_to_grey(call: CallNode) -> None:
    (latent,) = call("EmptyLatentImage", width=64, height=32, batch_size=3).outputs
    assert latent["samples"].shape == (3, 4, 4, 8)
    assert call("VAEDecode", samples=latent, vae=None).outputs[0] == pytest.approx(np.full((3, 32, 64, 3), 0.5))


def test_empty_latents_of_absurd_size_are_refused(call: CallNode) -> None:
    with pytest.raises(MemoryError):
        call("EmptyLatentImage", width=16384, height=16384, batch_size=4096)


def test_combined_conditioning_does_not_grow_without_end(call: CallNode) -> None:
    _, clip, _ = call("CheckpointLoaderSimple", ckpt_name="a.safetensors").outputs
    (conditioning,) = call("CLIPTextEncode", text="a fox", clip=clip).outputs
    for _ in range(64):
        (conditioning,) = call("ConditioningCombine", conditioning_1=conditioning, conditioning_2=conditioning).outputs
    assert len(conditioning) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        (None, "None"),
        (True, "True"),
        (1.5, "1.5"),
        ({"a": [1]}, '{\n    "a": [\n        1\n    ]\n}'),
        ({1j}, "{1j}"),
    ],
)
def test_preview_any_shows_values_as_text(call: CallNode, value: object, text: str) -> None:
    assert call("PreviewAny", source=value).ui == {"text": [text]}


def test_primitives_pass_their_value_on(call: CallNode) -> None:
    assert call("PrimitiveString", value="x").outputs == ("x",)
    assert call("PrimitiveInt", value=3).outputs == (3,)


def test_choices_come_from_the_catalog(catalog: Any) -> None:
    def choices(node: str, name: str) -> list[str]:
        kind = NODE_CLASSES[node].required[name].kind
        assert callable(kind)
        return list(kind(catalog))

    assert choices("CheckpointLoaderSimple", "ckpt_name") == ["a.safetensors", "b.safetensors"]
    assert choices("LoraLoader", "lora_name") == ["ink.safetensors"]
    assert choices("VAELoader", "vae_name") == ["pixel_space"]


def test_declarations_are_complete() -> None:
    assert len(NODE_CLASSES) >= 50
    for name, node in NODE_CLASSES.items():
        assert node.name == name
        assert node.category
        assert node.output_node != bool(node.outputs)
        for spec in (*node.required.values(), *node.optional.values()):
            default = spec.options.get("default")
            assert spec.options.get("min", default) is default or spec.options["min"] <= (default or 0)
