"""Sampling behaves as sampling does: seeds, steps, guidance, image to image, interruption."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from comfypod.emulator.nodes.base import InterruptedByUserError
from comfypod.emulator.sampling.denoiser import Adapter, Concept, Model
from comfypod.emulator.sampling.latents import from_latent, to_latent
from comfypod.emulator.sampling.sampler import SAMPLER_NAMES, SAMPLERS, SamplerSettings, sample
from comfypod.emulator.sampling.schedules import SCHEDULER_NAMES, noise_levels

STARS = "three yellow stars on night"
CIRCLE = "a red circle on blue"

Paint = Callable[..., np.ndarray]


def empty_latent(size: int = 128, batch: int = 1) -> dict[str, Any]:
    return {"samples": np.zeros((batch, 4, size // 8, size // 8), dtype=np.float32)}


@pytest.fixture
def paint(context: Any) -> Paint:
    """Sample and decode: pictures ``[B, H, W, 3]``, -1..1."""

    def run(
        prompt: str | list[str] = CIRCLE,
        negative: str = "",
        *,
        latent: dict[str, Any] | None = None,
        model: Model | None = None,
        **widgets: Any,
    ) -> np.ndarray:
        settings = SamplerSettings(**{"seed": 0, "steps": 20, "cfg": 7.0, **widgets})
        prompts = [prompt] if isinstance(prompt, str) else prompt
        latent = latent or empty_latent()
        concepts = [Concept(text) for text in prompts]
        model = model or Model("a.safetensors")
        result = sample(model, concepts, [Concept(negative)], latent=latent, settings=settings, context=context)
        assert result["samples"].shape == latent["samples"].shape
        return from_latent(result)

    return run


def sharpness(picture: np.ndarray) -> float:
    values = np.asarray(picture, dtype=np.float64)
    return float(np.abs(np.diff(values, axis=-2)).mean() / (np.ptp(values) + 1e-9))


def test_a_red_circle_on_blue_comes_out(paint: Paint) -> None:
    for seed in range(4):
        (picture,) = paint(CIRCLE, seed=seed)
        red, green, blue = picture[64, 64]
        assert red > 0.4
        assert max(green, blue) < 0
        red, green, blue = picture[2, 2]
        assert blue > 0.2
        assert blue > red + 0.5


def test_same_seed_same_bits(paint: Paint) -> None:
    assert np.array_equal(paint(STARS, seed=3), paint(STARS, seed=3))


def test_other_seed_other_composition(paint: Paint) -> None:
    pictures = [paint(STARS, seed=seed) for seed in range(4)]
    for index, picture in enumerate(pictures):
        assert all(np.abs(picture - other).mean() > 0.03 for other in pictures[:index])


def test_largest_seed_is_taken(paint: Paint) -> None:
    assert np.isfinite(paint(seed=2**64 - 1, steps=2)).all()


def test_each_preview_is_closer_to_the_result(paint: Paint, context: Any) -> None:
    paint(STARS, seed=1)
    previews = [np.asarray(preview).astype(float) for preview in context.previews]
    distances = [float(np.abs(preview - previews[-1]).mean()) for preview in previews]
    assert len(previews) == 20
    assert previews[0].shape == (512, 512, 3)
    assert all(later <= earlier + 0.2 for earlier, later in pairwise(distances))
    assert distances[0] > 1.5 * distances[10] > 4 * distances[14]
    assert sharpness(previews[0]) < sharpness(previews[8]) < sharpness(previews[-1])


def test_more_steps_make_a_cleaner_picture(paint: Paint) -> None:
    by_steps = {steps: paint(STARS, steps=steps) for steps in (1, 4, 20)}
    assert sharpness(by_steps[1]) < 0.6 * sharpness(by_steps[4])
    assert sharpness(by_steps[4]) < 0.95 * sharpness(by_steps[20])


def test_guidance_is_washed_out_below_and_saturated_above(paint: Paint) -> None:
    low, middle, high = (paint(CIRCLE, cfg=cfg).std() for cfg in (1.0, 7.0, 15.0))
    assert low < 0.6 * middle
    assert middle < 0.9 * high
    assert np.abs(paint(CIRCLE, cfg=0.0)).max() < 0.01


def test_negative_prompt_pushes_its_colours_away(paint: Paint) -> None:
    plain, pushed = paint("a circle on white", seed=2), paint("a circle on white", "red", seed=2)
    redness = [float((picture[..., 0] - picture[..., 1:].mean(axis=-1)).mean()) for picture in (plain, pushed)]
    assert redness[1] < redness[0] - 0.1


def test_batch_items_differ_and_the_first_is_the_one_made_alone(paint: Paint) -> None:
    alone, batch = paint(STARS, seed=5), paint(STARS, seed=5, latent=empty_latent(batch=3))
    assert np.allclose(batch[0], alone[0], atol=0.01)
    assert np.abs(batch[0] - batch[1]).mean() > 0.03
    assert np.abs(batch[1] - batch[2]).mean() > 0.03


def test_image_to_image_keeps_structure_as_far_as_denoise_says(paint: Paint) -> None:
    source = paint(CIRCLE, seed=1)
    changes = [
        float(np.abs(paint(STARS, latent=to_latent(source), denoise=denoise) - source).mean())
        for denoise in (0.0, 0.3, 0.6, 1.0)
    ]
    assert changes[0] < 0.001
    assert changes[0] < changes[1] < changes[2] < changes[3]
    kept = paint(STARS, latent=to_latent(source), denoise=0.4)
    assert np.corrcoef(kept.ravel(), source.ravel())[0, 1] > 0.8


def test_second_pass_at_a_larger_size_keeps_the_composition(paint: Paint) -> None:
    first = paint("two cats on green", seed=4)
    enlarged = np.repeat(np.repeat(first, 2, axis=1), 2, axis=2)
    second = paint("two cats on green", seed=4, latent=to_latent(enlarged), denoise=0.5)
    assert np.corrcoef(second.ravel(), enlarged.ravel())[0, 1] > 0.9


def test_prompts_can_be_combined(paint: Paint) -> None:
    combined = paint(["a red circle on white", "a blue circle on white"])[0, 64, 64]
    assert combined[0] > combined[1] < combined[2]
    with pytest.raises(ValueError, match="1 to 8"):
        paint([f"prompt {number}" for number in range(9)])


def test_lora_changes_the_picture_by_its_strength(paint: Paint) -> None:
    plain = paint(STARS)
    change = {
        (name, strength): float(
            np.abs(paint(STARS, model=Model("a.safetensors", (Adapter(name, strength),))) - plain).mean()
        )
        for name, strength in (("ink", 0.0), ("ink", 0.3), ("ink", 1.0), ("oil", 1.0))
    }
    assert change["ink", 0.0] == 0
    assert 0.01 < change["ink", 0.3] < change["ink", 1.0]
    assert change["oil", 1.0] != pytest.approx(change["ink", 1.0], rel=0.01)


def test_checkpoints_compose_differently(paint: Paint) -> None:
    assert np.abs(paint(STARS, model=Model("b.safetensors")) - paint(STARS)).mean() > 0.03


@pytest.mark.parametrize("sampler_name", SAMPLER_NAMES)
def test_every_sampler_reports_every_step(paint: Paint, context: Any, sampler_name: str) -> None:
    picture = paint(STARS, sampler_name=sampler_name, steps=6, latent=empty_latent(64))
    assert context.steps == [(step, 6) for step in range(1, 7)]
    assert np.isfinite(picture).all()
    assert picture.std() > 0.1


@pytest.mark.parametrize("scheduler", SCHEDULER_NAMES)
@pytest.mark.parametrize("steps", [1, 2, 7, 20, 1500])
def test_schedules_fall_to_zero(scheduler: str, steps: int) -> None:
    levels = noise_levels(scheduler, steps)
    assert levels[0] == pytest.approx(14.6146, abs=1e-3) or scheduler == "ddim_uniform"
    assert levels[-1] == 0
    assert (np.diff(levels) <= 0).all()
    assert np.isfinite(levels).all()


def test_schedules_match_known_values() -> None:
    # Karras et al. 2022 with rho 7, by hand; the others as printed by ComfyUI's functions for SD 1.5.
    start, end = 14.614642 ** (1 / 7), 0.0291675 ** (1 / 7)
    assert noise_levels("karras", 3) == pytest.approx([14.614642, ((start + end) / 2) ** 7, 0.0291675, 0], rel=1e-4)
    assert noise_levels("exponential", 3)[1] == pytest.approx(math.sqrt(14.614642 * 0.0291675), rel=1e-4)
    assert len(noise_levels("normal", 20)) == len(noise_levels("simple", 20)) == 21
    assert len(noise_levels("ddim_uniform", 30)) == 32


def test_denoise_takes_the_end_of_a_longer_schedule() -> None:
    assert noise_levels("karras", 10, 0.5) == pytest.approx(noise_levels("karras", 20)[-11:])
    assert len(noise_levels("karras", 10, 0.0)) == 0
    assert len(noise_levels("normal", 10, 1e-12)) == 11


GAUSSIAN_WIDTH = 0.7


def gaussian_error(sampler_name: str, steps: int) -> float:
    """How far a rule is from the exact solution if the data are one Gaussian, whose denoiser is linear."""

    def evaluate(latent: np.ndarray, sigma: float) -> np.ndarray:
        return latent * np.float32(GAUSSIAN_WIDTH**2 / (GAUSSIAN_WIDTH**2 + sigma**2))

    levels = np.geomspace(10.0, 0.1, steps + 1)
    start = np.ones((1, 4, 2, 2), dtype=np.float32)
    *_, last = SAMPLERS[sampler_name](evaluate, start, levels, lambda: np.zeros_like(start))
    exact = math.sqrt((GAUSSIAN_WIDTH**2 + 0.1**2) / (GAUSSIAN_WIDTH**2 + 10.0**2))
    return float(np.abs(last - exact).max() / exact)


@pytest.mark.parametrize("sampler_name", ["euler", "ddim", "heun", "dpm_2", "dpmpp_2m"])
def test_deterministic_rules_converge_to_the_exact_solution(sampler_name: str) -> None:
    errors = [gaussian_error(sampler_name, steps) for steps in (10, 20, 40, 80)]
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[3] < 0.03
    if sampler_name in {"heun", "dpm_2", "dpmpp_2m"}:  # second order: twice the steps, a quarter of the error
        assert errors[3] < 0.35 * errors[2]
        assert errors[3] < 0.2 * gaussian_error("euler", 80)


def test_ddim_is_euler_in_other_words() -> None:
    assert gaussian_error("ddim", 10) == pytest.approx(gaussian_error("euler", 10), abs=1e-4)


def test_samplers_go_different_ways(paint: Paint, context: Any) -> None:
    ways = {}
    for name in ("euler", "heun", "dpm_2", "dpmpp_2m", "euler_ancestral", "lcm"):
        context.previews.clear()
        paint(STARS, sampler_name=name, steps=12)
        ways[name] = np.asarray(context.previews[5]).astype(float)
    names = list(ways)
    for index, name in enumerate(names):
        assert all(np.abs(ways[name] - ways[other]).mean() > 0.05 for other in names[:index]), name


@pytest.mark.parametrize("at", [0, 1, 3])
def test_interrupt_stops_within_one_step(paint: Paint, context: Any, at: int) -> None:
    context.interrupt_at = at
    with pytest.raises(InterruptedByUserError):
        paint(STARS)
    assert len(context.steps) == at


def test_no_previews_unless_wanted(paint: Paint, context: Any) -> None:
    context.previews_wanted = False
    paint(steps=2)
    assert context.steps == [(1, 2), (2, 2)]
    assert context.previews == []


def test_previews_have_a_longer_side_of_512(paint: Paint, context: Any) -> None:
    for rows, columns, size in ((8, 8, (512, 512)), (8, 32, (512, 128)), (96, 64, (341, 512))):
        context.previews.clear()
        paint(steps=1, latent={"samples": np.zeros((1, 4, rows, columns), dtype=np.float32)})
        assert context.previews[0].size == size


def test_too_large_a_batch_is_refused_at_once(paint: Paint) -> None:
    with pytest.raises(MemoryError, match="smaller"):
        paint(latent={"samples": np.broadcast_to(np.zeros((), dtype=np.float32), (64, 4, 256, 256))})


def test_latents_hold_pictures_without_loss() -> None:
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 24, 40, 3)).astype(np.float32)
    latent = to_latent(pictures)
    assert latent["samples"].shape == (2, 4, 3, 5)
    assert np.allclose(from_latent(latent), pictures, atol=1e-3)
