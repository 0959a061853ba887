"""Arithmetic on ``IMAGE`` arrays: resizing as torch does it, centre cropping, and the way to and from Pillow images.

The rules are those of ``torch.nn.functional.interpolate`` (``align_corners=False``, no anti-aliasing) and of
``common_upscale`` in ComfyUI 0.3.64 (``comfy/utils.py``), so that sizes and pixels agree with the real nodes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from comfypod.emulator.nodes.base import FloatArray
from comfypod.emulator.sampling.latents import check_size

MAX_RESOLUTION = 16384
"""ComfyUI's own upper limit of a width or height (``nodes.py``)."""

LIMIT_PIXELS = 1 << 25
"""Pixels of a batch that image nodes accept: 33.5 million, 400 MB as float32. More ends in a MemoryError."""

SCALE_METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")
CROP_METHODS = ("disabled", "center")

Taps = list[tuple[npt.NDArray[np.intp], FloatArray]]


def check_image_size(batch: int, height: int, width: int) -> None:
    """Refuse a batch that would not fit into memory.

    Raises:
        MemoryError: it holds more than `LIMIT_PIXELS` pixels.
    """
    check_size(batch, height, width, LIMIT_PIXELS)


def to_array(image: Image.Image) -> FloatArray:
    """An RGB image as ``[1, H, W, 3]``, or a single-channel one as ``[1, H, W]``; 0..1."""
    return np.asarray(image, dtype=np.float32)[None] / np.float32(255)


def to_image(picture: FloatArray) -> Image.Image:
    """``[H, W, 3]`` (0..1) as an RGB image; clipped, and cut off rather than rounded, as ComfyUI does."""
    return Image.fromarray(np.clip(255.0 * picture, 0, 255).astype(np.uint8))


def upscale(images: FloatArray, width: int, height: int, method: str, crop: str) -> FloatArray:
    """Resize ``[B, H, W, C]`` to ``width`` x ``height``; ``crop`` "center" first cuts it to the new proportions.

    Raises:
        MemoryError: the result would be too large.
        ValueError: the result would have no pixels, or there is no such method.
    """
    if width < 1 or height < 1:
        raise ValueError(f"Input and output sizes should be greater than 0, but got output (H: {height}, W: {width})")
    check_image_size(images.shape[0], height, width)
    if crop == "center":
        images = crop_centre(images, width, height)
    if method == "lanczos":
        resized = [to_image(image).resize((width, height), Image.Resampling.LANCZOS) for image in images]
        return np.concatenate([to_array(image) for image in resized])
    if method == "area":
        return _area(_area(images, height, 1), width, 2)
    if method not in _TAPS:
        raise ValueError(f"there is no upscale method {method!r}")
    taps = _TAPS[method]
    return _gather(_gather(images, taps(images.shape[1], height), 1), taps(images.shape[2], width), 2)


def crop_centre(images: FloatArray, width: int, height: int) -> FloatArray:
    """Cut ``[B, H, W, C]`` to the proportions of ``width`` x ``height``, the same amount off both sides."""
    old_height, old_width = images.shape[1:3]
    old_aspect, new_aspect = old_width / old_height, width / height
    left = top = 0
    if old_aspect > new_aspect:
        left = round((old_width - old_width * (new_aspect / old_aspect)) / 2)
    elif old_aspect < new_aspect:
        top = round((old_height - old_height * (old_aspect / new_aspect)) / 2)
    return images[:, top : old_height - top, left : old_width - left]


def _gather(images: FloatArray, taps: Taps, axis: int) -> FloatArray:
    """Weighted sum of the source rows (axis 1) or columns (axis 2) that each target row or column looks at."""
    shape = [1] * images.ndim
    shape[axis] = -1
    total: FloatArray | None = None
    for index, weight in taps:
        part = np.take(images, index, axis=axis) * weight.reshape(shape)
        total = part if total is None else total + part
    if total is None:
        raise ValueError("a method of resizing needs at least one tap")
    return total


def _nearest_exact(old: int, new: int) -> Taps:
    index = np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.intp), old - 1)
    return [(index, np.ones(new, dtype=np.float32))]


def _bilinear(old: int, new: int) -> Taps:
    place = np.maximum((np.arange(new) + 0.5) * old / new - 0.5, 0)
    first = np.minimum(place.astype(np.intp), old - 1)
    share = (place - first).astype(np.float32)
    return [(first, 1 - share), (np.minimum(first + 1, old - 1), share)]


def _bicubic(old: int, new: int) -> Taps:
    """Cubic convolution with a = -0.75, as torch and OpenCV have it."""
    place = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(place).astype(np.intp)
    return [
        (np.clip(first + shift, 0, old - 1), _cubic(np.abs(place - first - shift)).astype(np.float32))
        for shift in (-1, 0, 1, 2)
    ]


def _cubic(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


_TAPS: dict[str, Callable[[int, int], Taps]] = {
    "nearest-exact": _nearest_exact,
    "bilinear": _bilinear,
    "bicubic": _bicubic,
}


def _area(images: FloatArray, new: int, axis: int) -> FloatArray:
    """Mean over the source pixels that a target pixel touches (torch's adaptive average pooling)."""
    old = images.shape[axis]
    starts = np.arange(new) * old // new
    ends = -(-(np.arange(1, new + 1) * old) // new)
    sums = np.cumsum(images, axis=axis, dtype=np.float64)
    sums = np.concatenate([np.zeros_like(np.take(sums, [0], axis=axis)), sums], axis=axis)
    shape = [1] * images.ndim
    shape[axis] = -1
    totals = np.take(sums, ends, axis=axis) - np.take(sums, starts, axis=axis)
    return np.asarray(totals / (ends - starts).reshape(shape), dtype=np.float32)
