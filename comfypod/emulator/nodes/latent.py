"""Nodes on latents: empty ones, sampling, coding and scaling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from comfypod.emulator.nodes.base import FloatArray, Input, NodeClass, NodeContext, NodeResult
from comfypod.emulator.nodes.conditioning import Conditioning
from comfypod.emulator.nodes.loaders import PictureCode
from comfypod.emulator.nodes.pixels import CROP_METHODS, MAX_RESOLUTION, upscale
from comfypod.emulator.sampling.denoiser import Model
from comfypod.emulator.sampling.latents import CELL, check_size, from_latent, to_latent
from comfypod.emulator.sampling.sampler import SAMPLER_NAMES, SamplerSettings, sample
from comfypod.emulator.sampling.schedules import SCHEDULER_NAMES

Latent = Mapping[str, Any]

_LATENT_METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "bislerp")


def _empty(_context: NodeContext, *, width: int, height: int, batch_size: int) -> NodeResult:
    check_size(batch_size, height, width)
    samples = np.zeros((batch_size, 4, height // CELL, width // CELL), dtype=np.float32)
    return NodeResult(({"samples": samples},))


def _sample(
    context: NodeContext,
    *,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    **settings: Any,  # noqa: ANN401 - the widgets of KSampler, which are the fields of SamplerSettings
) -> NodeResult:
    return NodeResult(
        (sample(model, positive, negative, latent=latent_image, settings=SamplerSettings(**settings), context=context),)
    )


def _decode(_context: NodeContext, *, samples: Latent, vae: PictureCode) -> NodeResult:
    del vae  # Every VAE is the same linear code.
    return NodeResult((np.clip((from_latent(samples) + 1) / 2, 0, 1),))


def _encode(_context: NodeContext, *, pixels: FloatArray, vae: PictureCode) -> NodeResult:
    """Cut the picture to multiples of 8, the same amount off both sides, and encode it."""
    del vae
    height, width = (size // CELL * CELL for size in pixels.shape[1:3])
    if not height or not width:
        raise ValueError(f"an image of {pixels.shape[2]} x {pixels.shape[1]} pixels is too small to encode")
    check_size(pixels.shape[0], height, width)
    top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
    inner = pixels[:, top : top + height, left : left + width, :3]
    return NodeResult((to_latent((inner * 2 - 1).astype(np.float32)),))


def _upscale(
    _context: NodeContext, *, samples: Latent, upscale_method: str, width: int, height: int, crop: str
) -> NodeResult:
    """Scale to ``width`` x ``height`` pixels, at least 64; 0 keeps the proportions."""
    if width == 0 and height == 0:
        return NodeResult((samples,))
    rows, columns = samples["samples"].shape[-2:]
    if width == 0:
        height = max(64, height)
        width = max(64, round(columns * height / rows))
    elif height == 0:
        width = max(64, width)
        height = max(64, round(rows * width / columns))
    new_size = (max(64, width) // CELL, max(64, height) // CELL)
    return NodeResult((_resized(samples, *new_size, upscale_method, crop),))


def _upscale_by(_context: NodeContext, *, samples: Latent, upscale_method: str, scale_by: float) -> NodeResult:
    rows, columns = samples["samples"].shape[-2:]
    new_size = (round(columns * scale_by), round(rows * scale_by))
    return NodeResult((_resized(samples, *new_size, upscale_method, "disabled"),))


def _resized(latent: Latent, columns: int, rows: int, method: str, crop: str) -> dict[str, Any]:
    """Scale a latent to ``columns`` x ``rows`` cells.

    The picture behind it is scaled, so that samples and detail stay together; "bislerp" is done as "bicubic".
    """
    batch = latent["samples"].shape[0]
    check_size(batch, rows * CELL, columns * CELL)
    if not np.any(latent["samples"]):
        return {"samples": np.zeros((batch, 4, max(1, rows), max(1, columns)), dtype=np.float32)}
    method = "bicubic" if method == "bislerp" else method
    return to_latent(upscale(from_latent(latent), columns * CELL, rows * CELL, method, crop))


_PIXELS = {"default": 512, "min": 16, "max": MAX_RESOLUTION, "step": 8}
_TARGET = {"default": 512, "min": 0, "max": MAX_RESOLUTION, "step": 8}

EMPTY_LATENT = NodeClass(
    name="EmptyLatentImage",
    run=_empty,
    required={
        "width": Input("INT", _PIXELS),
        "height": Input("INT", _PIXELS),
        "batch_size": Input("INT", {"default": 1, "min": 1, "max": 4096}),
    },
    outputs=("LATENT",),
    display_name="Empty Latent Image",
    category="latent",
)

KSAMPLER = NodeClass(
    name="KSampler",
    run=_sample,
    required={
        "model": Input("MODEL"),
        "seed": Input("INT", {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF, "control_after_generate": True}),
        "steps": Input("INT", {"default": 20, "min": 1, "max": 10000}),
        "cfg": Input("FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}),
        "sampler_name": Input(SAMPLER_NAMES),
        "scheduler": Input(SCHEDULER_NAMES),
        "positive": Input("CONDITIONING"),
        "negative": Input("CONDITIONING"),
        "latent_image": Input("LATENT"),
        "denoise": Input("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}),
    },
    outputs=("LATENT",),
    display_name="KSampler",
    category="sampling",
)

VAE_DECODE = NodeClass(
    name="VAEDecode",
    run=_decode,
    required={"samples": Input("LATENT"), "vae": Input("VAE")},
    outputs=("IMAGE",),
    display_name="VAE Decode",
    category="latent",
)

VAE_ENCODE = NodeClass(
    name="VAEEncode",
    run=_encode,
    required={"pixels": Input("IMAGE"), "vae": Input("VAE")},
    outputs=("LATENT",),
    display_name="VAE Encode",
    category="latent",
)

LATENT_UPSCALE = NodeClass(
    name="LatentUpscale",
    run=_upscale,
    required={
        "samples": Input("LATENT"),
        "upscale_method": Input(_LATENT_METHODS),
        "width": Input("INT", _TARGET),
        "height": Input("INT", _TARGET),
        "crop": Input(CROP_METHODS),
    },
    outputs=("LATENT",),
    display_name="Upscale Latent",
    category="latent",
)

LATENT_UPSCALE_BY = NodeClass(
    name="LatentUpscaleBy",
    run=_upscale_by,
    required={
        "samples": Input("LATENT"),
        "upscale_method": Input(_LATENT_METHODS),
        "scale_by": Input("FLOAT", {"default": 1.5, "min": 0.01, "max": 8.0, "step": 0.01}),
    },
    outputs=("LATENT",),
    display_name="Upscale Latent By",
    category="latent",
)

NODES = (EMPTY_LATENT, KSAMPLER, VAE_DECODE, VAE_ENCODE, LATENT_UPSCALE, LATENT_UPSCALE_BY)
