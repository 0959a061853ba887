"""How much the GPU has to do for a workflow, told by its nodes alone: megapixels times steps. Pure.

It is a measure for comparing items, not a prediction: a GPU's speed in it is learned from runs. What a workflow does
not say is taken for what is usual: 20 steps, one picture of 1024 x 1024. Without any sampler the work is 1.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from comfypod.batch.manifest.reading import MOST_LINKS, WorkflowReading

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


def megapixel_steps(reading: WorkflowReading, needed: list[str]) -> float:
    """The work of these nodes; never zero, never endless."""
    found = [work for node_id in needed if (work := _sampled(reading, node_id)) is not None]
    return min(max(sum(found), LEAST_WORK), MOST_WORK) if found else WITHOUT_SAMPLER


def _sampled(reading: WorkflowReading, node_id: str) -> float | None:
    """The work of a sampler: it has something to work on, and either steps or sigmas; None for any other node."""
    inputs = reading.inputs(node_id)
    source = next((name for name in _SOURCES if reading.link(node_id, name)), None)
    if source is None or not ("steps" in inputs or "sigmas" in inputs):
        return None
    link = reading.link(node_id, source)
    picture = _picture(reading, link[0] if link else None, MOST_LINKS)
    scale = _scale(reading, node_id)
    return _steps(reading, node_id) * picture.megapixels * scale * scale * picture.number


def _steps(reading: WorkflowReading, node_id: str) -> float:
    if "steps" not in reading.inputs(node_id):
        return _sigmas(reading, node_id, MOST_LINKS)
    steps = reading.number(node_id, "steps") or USUAL_STEPS
    if "start_at_step" in reading.inputs(node_id):  # KSamplerAdvanced (nodes.py)
        end = reading.number(node_id, "end_at_step") or steps
        return max(0.0, min(end, steps) - (reading.number(node_id, "start_at_step") or 0.0))
    is_nothing_to_do = reading.value(node_id, "denoise") in (0, 0.0)
    return 0.0 if is_nothing_to_do else steps


def _sigmas(reading: WorkflowReading, node_id: str, links: int) -> float:
    """How many steps the sigmas have that a node gets, from the scheduler that made them."""
    link = reading.link(node_id, "sigmas")
    if link is None or links == 0:
        return USUAL_STEPS
    scheduler, output = link
    if "steps" in reading.inputs(scheduler):
        return reading.number(scheduler, "steps") or USUAL_STEPS
    steps = _sigmas(reading, scheduler, links - 1)
    if reading.class_type(scheduler) == "SplitSigmas":  # comfy_extras/nodes_custom_sampler.py: high sigmas, low sigmas
        high = min(reading.number(scheduler, "step") or 0.0, steps)
        return high if output == 0 else steps - high
    return steps


def _picture(reading: WorkflowReading, node_id: str | None, links: int) -> _Picture:
    """What a node hands on: as large as it says itself, else as what it was given."""
    if node_id is None or links == 0:
        return _Picture(USUAL_MEGAPIXELS, 1.0)
    inputs = reading.inputs(node_id)
    link = next((found for name in _SOURCES if (found := reading.link(node_id, name))), None)
    source = _picture(reading, link[0] if link else None, links - 1)
    number = source.number
    if link is None:
        number = _given(reading, node_id, "batch_size") * _frames(reading.number(node_id, "length"))
    elif "amount" in inputs:  # RepeatLatentBatch, RepeatImageBatch (nodes.py)
        number *= _given(reading, node_id, "amount")
    width, height = reading.number(node_id, "width"), reading.number(node_id, "height")
    if width and height:
        return _Picture(width * height / 1e6, number)
    if "megapixels" in inputs:  # ImageScaleToTotalPixels (comfy_extras/nodes_post_processing.py)
        return _Picture(_given(reading, node_id, "megapixels"), number)
    scale = _scale(reading, node_id)
    return _Picture(source.megapixels * scale * scale, number)


def _scale(reading: WorkflowReading, node_id: str) -> float:
    if reading.class_type(node_id) == "ImageUpscaleWithModel":
        return _MODEL_SCALE
    name = next((name for name in _SCALES if name in reading.inputs(node_id)), None)
    return _given(reading, node_id, name) if name else 1.0


def _given(reading: WorkflowReading, node_id: str, name: str) -> float:
    return reading.number(node_id, name) or 1.0


def _frames(length: Any) -> float:  # noqa: ANN401 (a number, or nothing)
    return 1.0 if length is None else max(1.0, (length - 1) // _FRAMES_IN_ONE + 1)
