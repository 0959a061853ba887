"""Nodes on pictures: loading, scaling, cropping and mixing, with ComfyUI's arithmetic."""

from __future__ import annotations

import numpy as np
from PIL import Image

from comfypod.emulator.nodes.base import Catalog, FloatArray, Input, NodeClass, NodeContext, NodeResult
from comfypod.emulator.nodes.files import content_hash, files_of_types, input_path, open_frames, validate_file
from comfypod.emulator.nodes.pixels import (
    CROP_METHODS,
    MAX_RESOLUTION,
    SCALE_METHODS,
    check_image_size,
    to_array,
    upscale,
)

_CHANNELS = ("alpha", "red", "green", "blue")
_BLEND_MODES = ("normal", "multiply", "screen", "overlay", "soft_light", "difference")


def _load(context: NodeContext, image: str) -> NodeResult:
    """Load all frames of the size of the first one; the mask is 1 where the picture is transparent."""
    pictures: list[FloatArray] = []
    masks: list[FloatArray] = []
    for frame in open_frames(input_path(context, image)):
        if pictures and frame.size != (pictures[0].shape[2], pictures[0].shape[1]):
            continue
        pictures.append(to_array(frame.convert("RGB")))
        masks.append(_transparency(frame))
        context.check_interrupted()
    return NodeResult((np.concatenate(pictures), np.concatenate(masks)))


def _transparency(frame: Image.Image) -> FloatArray:
    """``[1, H, W]``; without transparency 64 x 64 zeros, which is what ComfyUI gives."""
    if "A" in frame.getbands():
        return 1 - to_array(frame.getchannel("A"))
    if frame.mode == "P" and "transparency" in frame.info:
        return 1 - to_array(frame.convert("RGBA").getchannel("A"))
    return np.zeros((1, 64, 64), dtype=np.float32)


def _load_mask(context: NodeContext, *, image: str, channel: str) -> NodeResult:
    """Load one channel; of the alpha channel its opposite."""
    (frame,) = open_frames(input_path(context, image), only_first=True)
    values = to_array(frame.convert("RGBA").getchannel(channel[0].upper()))
    return NodeResult((1 - values if channel == "alpha" else values,))


def _pictures(catalog: Catalog) -> list[str]:
    return files_of_types(catalog, "image")


def _all_files(catalog: Catalog) -> list[str]:
    return list(catalog.input_files())


def _fingerprint(catalog: Catalog, image: str, **_others: object) -> str:
    return content_hash(catalog, image)


def _validate(catalog: Catalog, image: str) -> bool | str:
    return validate_file(catalog, image, "image")


def _empty(_context: NodeContext, *, width: int, height: int, batch_size: int, color: int) -> NodeResult:
    check_image_size(batch_size, height, width)
    channels = [(color >> shift & 0xFF) / 0xFF for shift in (16, 8, 0)]
    return NodeResult((np.tile(np.array(channels, dtype=np.float32), (batch_size, height, width, 1)),))


def _scale(
    _context: NodeContext, *, image: FloatArray, upscale_method: str, width: int, height: int, crop: str
) -> NodeResult:
    """Scale to ``width`` x ``height``; where one is 0, it follows from the proportions."""
    if width == 0 and height == 0:
        return NodeResult((image,))
    old_height, old_width = image.shape[1:3]
    if width == 0:
        width = max(1, round(old_width * height / old_height))
    elif height == 0:
        height = max(1, round(old_height * width / old_width))
    return NodeResult((upscale(image, width, height, upscale_method, crop),))


def _scale_by(_context: NodeContext, *, image: FloatArray, upscale_method: str, scale_by: float) -> NodeResult:
    width, height = round(image.shape[2] * scale_by), round(image.shape[1] * scale_by)
    return NodeResult((upscale(image, width, height, upscale_method, "disabled"),))


def _invert(_context: NodeContext, image: FloatArray) -> NodeResult:
    return NodeResult((1 - image,))


def _batch(_context: NodeContext, *, image1: FloatArray, image2: FloatArray) -> NodeResult:
    """Put the second after the first, scaled and cropped to its size."""
    if image1.shape[1:3] != image2.shape[1:3]:
        image2 = upscale(image2, image1.shape[2], image1.shape[1], "bilinear", "center")
    check_image_size(image1.shape[0] + image2.shape[0], image1.shape[1], image1.shape[2])
    return NodeResult((np.concatenate([image1, image2]),))


def _repeat(_context: NodeContext, *, image: FloatArray, amount: int) -> NodeResult:
    check_image_size(image.shape[0] * amount, image.shape[1], image.shape[2])
    return NodeResult((np.tile(image, (amount, 1, 1, 1)),))


def _from_batch(_context: NodeContext, *, image: FloatArray, batch_index: int, length: int) -> NodeResult:
    """Take some pictures out, or as many of them as there are; at least the last one."""
    first = min(image.shape[0] - 1, batch_index)
    return NodeResult((image[first : first + length],))


def _crop(_context: NodeContext, *, image: FloatArray, width: int, height: int, x: int, y: int) -> NodeResult:
    """Cut a rectangle out, or as much of it as lies inside; at least one row and column."""
    left, top = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
    return NodeResult((image[:, top : top + height, left : left + width],))


def _blend(
    _context: NodeContext, *, image1: FloatArray, image2: FloatArray, blend_factor: float, blend_mode: str
) -> NodeResult:
    """Mix two pictures; the second is scaled and cropped to the size of the first."""
    if image1.shape[1:3] != image2.shape[1:3]:
        image2 = upscale(image2, image1.shape[2], image1.shape[1], "bicubic", "center")
    factor = np.float32(blend_factor)
    mixed = image1 * (1 - factor) + _blended(image1, image2, blend_mode) * factor
    return NodeResult((np.clip(mixed, 0, 1),))


def _blended(first: FloatArray, second: FloatArray, mode: str) -> FloatArray:
    """The blend modes of ``comfy_extras/nodes_post_processing.py``; "difference" is signed there too.

    Raises:
        ValueError: there is no such mode.
    """
    match mode:
        case "normal":
            return second
        case "multiply":
            return first * second
        case "screen":
            return 1 - (1 - first) * (1 - second)
        case "overlay":
            return np.where(first <= 0.5, 2 * first * second, 1 - 2 * (1 - first) * (1 - second))
        case "soft_light":
            darker = first - (1 - 2 * second) * first * (1 - first)
            return np.where(second <= 0.5, darker, first + (2 * second - 1) * (_softened(first) - first))
        case "difference":
            return first - second
        case _:
            raise ValueError(f"Unsupported blend mode: {mode}")


def _softened(values: FloatArray) -> FloatArray:
    roots = np.sqrt(np.maximum(values, 0))
    return np.where(values <= 0.25, ((16 * values - 12) * values + 4) * values, roots)


_SIZE = {"default": 512, "min": 1, "max": MAX_RESOLUTION, "step": 1}
_TARGET = {**_SIZE, "min": 0}
_OFFSET = {**_TARGET, "default": 0}
_IMAGE = Input("IMAGE")

LOAD_IMAGE = NodeClass(
    name="LoadImage",
    run=_load,
    required={"image": Input(_pictures, {"image_upload": True})},
    outputs=("IMAGE", "MASK"),
    display_name="Load Image",
    category="image",
    fingerprint=_fingerprint,
    validate=_validate,
)

LOAD_IMAGE_MASK = NodeClass(
    name="LoadImageMask",
    run=_load_mask,
    required={"image": Input(_all_files, {"image_upload": True}), "channel": Input(_CHANNELS)},
    outputs=("MASK",),
    display_name="Load Image (as Mask)",
    category="mask",
    fingerprint=_fingerprint,
    validate=_validate,
)

LOAD_IMAGE_OUTPUT = NodeClass(
    name="LoadImageOutput",
    run=_load,
    required={
        # Its choices are the web page's affair.
        "image": Input(
            "COMBO",
            {
                "image_upload": True,
                "image_folder": "output",
                "remote": {
                    "route": "/internal/files/output",
                    "refresh_button": True,
                    "control_after_refresh": "first",
                },
            },
        )
    },
    outputs=("IMAGE", "MASK"),
    display_name="Load Image (from Outputs)",
    category="image",
    fingerprint=_fingerprint,
    validate=_validate,
)

EMPTY_IMAGE = NodeClass(
    name="EmptyImage",
    run=_empty,
    required={
        "width": Input("INT", _SIZE),
        "height": Input("INT", _SIZE),
        "batch_size": Input("INT", {"default": 1, "min": 1, "max": 4096}),
        "color": Input("INT", {"default": 0, "min": 0, "max": 0xFFFFFF, "step": 1, "display": "color"}),
    },
    outputs=("IMAGE",),
    display_name="EmptyImage",
    category="image",
)

IMAGE_SCALE = NodeClass(
    name="ImageScale",
    run=_scale,
    required={
        "image": _IMAGE,
        "upscale_method": Input(SCALE_METHODS),
        "width": Input("INT", _TARGET),
        "height": Input("INT", _TARGET),
        "crop": Input(CROP_METHODS),
    },
    outputs=("IMAGE",),
    display_name="Upscale Image",
    category="image/upscaling",
)

IMAGE_SCALE_BY = NodeClass(
    name="ImageScaleBy",
    run=_scale_by,
    required={
        "image": _IMAGE,
        "upscale_method": Input(SCALE_METHODS),
        "scale_by": Input("FLOAT", {"default": 1.0, "min": 0.01, "max": 8.0, "step": 0.01}),
    },
    outputs=("IMAGE",),
    display_name="Upscale Image By",
    category="image/upscaling",
)

IMAGE_INVERT = NodeClass(
    name="ImageInvert",
    run=_invert,
    required={"image": _IMAGE},
    outputs=("IMAGE",),
    display_name="Invert Image",
    category="image",
)

IMAGE_BATCH = NodeClass(
    name="ImageBatch",
    run=_batch,
    required={"image1": _IMAGE, "image2": _IMAGE},
    outputs=("IMAGE",),
    display_name="Batch Images",
    category="image",
)

REPEAT_IMAGE_BATCH = NodeClass(
    name="RepeatImageBatch",
    run=_repeat,
    required={"image": _IMAGE, "amount": Input("INT", {"default": 1, "min": 1, "max": 4096})},
    outputs=("IMAGE",),
    category="image/batch",
)

IMAGE_FROM_BATCH = NodeClass(
    name="ImageFromBatch",
    run=_from_batch,
    required={
        "image": _IMAGE,
        "batch_index": Input("INT", {"default": 0, "min": 0, "max": 4095}),
        "length": Input("INT", {"default": 1, "min": 1, "max": 4096}),
    },
    outputs=("IMAGE",),
    category="image/batch",
)

IMAGE_CROP = NodeClass(
    name="ImageCrop",
    run=_crop,
    required={
        "image": _IMAGE,
        "width": Input("INT", _SIZE),
        "height": Input("INT", _SIZE),
        "x": Input("INT", _OFFSET),
        "y": Input("INT", _OFFSET),
    },
    outputs=("IMAGE",),
    display_name="Image Crop",
    category="image/transform",
)

IMAGE_BLEND = NodeClass(
    name="ImageBlend",
    run=_blend,
    required={
        "image1": _IMAGE,
        "image2": _IMAGE,
        "blend_factor": Input("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01}),
        "blend_mode": Input(_BLEND_MODES, combo=True),
    },
    outputs=("IMAGE",),
    display_name="Image Blend",
    category="image/postprocessing",
)

NODES = (
    LOAD_IMAGE,
    LOAD_IMAGE_MASK,
    LOAD_IMAGE_OUTPUT,
    EMPTY_IMAGE,
    IMAGE_SCALE,
    IMAGE_SCALE_BY,
    IMAGE_INVERT,
    IMAGE_BATCH,
    REPEAT_IMAGE_BATCH,
    IMAGE_FROM_BATCH,
    IMAGE_CROP,
    IMAGE_BLEND,
)
