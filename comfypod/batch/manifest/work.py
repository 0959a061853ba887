"""How much the GPU has to do for a workflow, told by its nodes alone: megapixels times steps. Pure.

It is a measure for comparing items, not a prediction: a GPU's speed in it is learned from runs. What a workflow does
not say is taken for what is usual: 20 steps, one picture of 1024 x 1024. Without any sampler the work is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from comfypod.batch.manifest.reading import WorkflowReading

USUAL_STEPS: Final = 20.0
USUAL_MEGAPIXELS: Final = 1024 * 1024 / 1e6
WITHOUT_SAMPLER: Final = 1.0
LEAST_WORK: Final = 1e-6
MOST_WORK: Final = 1e9

_SOURCES: Final = ("latent_image", "latent", "samples", "pixels", "image", "images")
"""Inputs by which latents and pictures are handed on."""
_SCALES: Final = ("scale_by", "upscale_by")
_MODEL_SCALE: Final = 4.0
"""Of ``ImageUpscaleWithModel``: most upscalers make pictures four times as wide; the workflow does not say."""
_FRAMES_IN_ONE: Final = 4
"""Of a video's frames the first, and then every four, are one in its latent (comfy_extras/nodes_hunyuan.py)."""


class _Picture(NamedTuple):
    """How large one is, and how many are made at once."""

    megapixels: float
    number: float


_USUAL: Final = _Picture(USUAL_MEGAPIXELS, 1.0)


def megapixel_steps(reading: WorkflowReading, needed: list[str]) -> float:
    """The work of these nodes, of which each comes after those that it needs; never zero, never endless."""
    handed_on: dict[str, _Picture] = {}
    scheduled: dict[str, float] = {}
    found = []
    for node_id in needed:
        source = _source(reading, node_id)
        given = None if source is None else handed_on.get(source, _USUAL)
        inputs = reading.inputs(node_id)
        if "steps" in inputs or "sigmas" in inputs:
            steps = _steps(reading, node_id, scheduled)
            scheduled[node_id] = steps
            if given is not None:
                found.append(_sampled(reading, node_id, steps, given))
        handed_on[node_id] = _picture(reading, node_id, given)
    return min(max(sum(found), LEAST_WORK), MOST_WORK) if found else WITHOUT_SAMPLER


def _source(reading: WorkflowReading, node_id: str) -> str | None:
    """The node whose picture or latent this one works on."""
    link = next((found for name in _SOURCES if (found := reading.link(node_id, name))), None)
    return None if link is None else link[0]


def _sampled(reading: WorkflowReading, node_id: str, steps: float, given: _Picture) -> float:
    """The work of a sampler: it has something to work on, and either steps or sigmas."""
    scale = _scale(reading, node_id)
    return steps * given.megapixels * scale * scale * given.number


def _steps(reading: WorkflowReading, node_id: str, scheduled: Mapping[str, float]) -> float:
    """How many steps a sampler makes, or how many a scheduler's sigmas are for."""
    inputs = reading.inputs(node_id)
    if "steps" not in inputs:
        return _steps_of_sigmas(reading, node_id, scheduled)
    steps = reading.number(node_id, "steps") or USUAL_STEPS
    if "start_at_step" in inputs:  # KSamplerAdvanced (nodes.py)
        end = reading.number(node_id, "end_at_step") or steps
        return max(0.0, min(end, steps) - (reading.number(node_id, "start_at_step") or 0.0))
    is_nothing_to_do = reading.value(node_id, "denoise") in (0, 0.0)
    return 0.0 if is_nothing_to_do else steps


def _steps_of_sigmas(reading: WorkflowReading, node_id: str, scheduled: Mapping[str, float]) -> float:
    """How many steps the sigmas are for that a node gets."""
    link = reading.link(node_id, "sigmas")
    if link is None:
        return USUAL_STEPS
    scheduler, output = link
    steps = scheduled.get(scheduler, USUAL_STEPS)
    if reading.class_type(scheduler) == "SplitSigmas":  # comfy_extras/nodes_custom_sampler.py: high sigmas, low sigmas
        high = min(reading.number(scheduler, "step") or 0.0, steps)
        return high if output == 0 else steps - high
    return steps


def _picture(reading: WorkflowReading, node_id: str, given: _Picture | None) -> _Picture:
    """What a node hands on: as large as it says itself, else as what it was given."""
    inputs = reading.inputs(node_id)
    megapixels, number = given or _USUAL
    if given is None:
        number = _given(reading, node_id, "batch_size") * _frames(reading.number(node_id, "length"))
    elif "amount" in inputs:  # RepeatLatentBatch, RepeatImageBatch (nodes.py)
        number *= _given(reading, node_id, "amount")
    width, height = reading.number(node_id, "width"), reading.number(node_id, "height")
    if width and height:
        return _Picture(width * height / 1e6, number)
    if "megapixels" in inputs:  # ImageScaleToTotalPixels (comfy_extras/nodes_post_processing.py)
        return _Picture(_given(reading, node_id, "megapixels"), number)
    scale = _scale(reading, node_id)
    return _Picture(min(megapixels * scale * scale, MOST_WORK), min(number, MOST_WORK))


def _scale(reading: WorkflowReading, node_id: str) -> float:
    if reading.class_type(node_id) == "ImageUpscaleWithModel":
        return _MODEL_SCALE
    name = next((name for name in _SCALES if name in reading.inputs(node_id)), None)
    return _given(reading, node_id, name) if name else 1.0


def _given(reading: WorkflowReading, node_id: str, name: str) -> float:
    return reading.number(node_id, name) or 1.0


def _frames(length: float | None) -> float:
    return 1.0 if length is None else max(1.0, (length - 1) // _FRAMES_IN_ONE + 1)
