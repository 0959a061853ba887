"""Nodes that load models: the built-in engine needs only their names, which colour what it draws.

Nothing is read from the model files: an empty file, or none behind a name that the catalog lists, does as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from comfypod.emulator.nodes.base import Catalog, Input, NodeClass, NodeContext, NodeResult
from comfypod.emulator.sampling.denoiser import Adapter, Model


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """``CLIP``: which checkpoint it came with, and the LoRAs on it."""

    name: str
    adapters: tuple[Adapter, ...] = ()


@dataclass(frozen=True, slots=True)
class PictureCode:
    """``VAE``; every one is the linear code of `comfypod.emulator.sampling.latents`."""

    name: str


def _load_checkpoint(_context: NodeContext, ckpt_name: str) -> NodeResult:
    return NodeResult((Model(ckpt_name), TextEncoder(ckpt_name), PictureCode(ckpt_name)))


def _load_lora(
    _context: NodeContext,
    *,
    model: Model,
    clip: TextEncoder,
    lora_name: str,
    strength_model: float,
    strength_clip: float,
) -> NodeResult:
    if strength_model:
        model = replace(model, adapters=(*model.adapters, Adapter(lora_name, strength_model)))
    if strength_clip:
        clip = replace(clip, adapters=(*clip.adapters, Adapter(lora_name, strength_clip)))
    return NodeResult((model, clip))


def _load_lora_model_only(_context: NodeContext, *, model: Model, lora_name: str, strength_model: float) -> NodeResult:
    if strength_model:
        model = replace(model, adapters=(*model.adapters, Adapter(lora_name, strength_model)))
    return NodeResult((model,))


def _load_vae(_context: NodeContext, vae_name: str) -> NodeResult:
    return NodeResult((PictureCode(vae_name),))


def _checkpoints(catalog: Catalog) -> list[str]:
    return list(catalog.models("checkpoints"))


def _loras(catalog: Catalog) -> list[str]:
    return list(catalog.models("loras"))


def _vaes(catalog: Catalog) -> list[str]:
    return [*catalog.models("vae"), "pixel_space"]


_STRENGTH = {"default": 1.0, "min": -100.0, "max": 100.0, "step": 0.01}

CHECKPOINT_LOADER = NodeClass(
    name="CheckpointLoaderSimple",
    run=_load_checkpoint,
    required={"ckpt_name": Input(_checkpoints)},
    outputs=("MODEL", "CLIP", "VAE"),
    display_name="Load Checkpoint",
    category="loaders",
)

LORA_LOADER = NodeClass(
    name="LoraLoader",
    run=_load_lora,
    required={
        "model": Input("MODEL"),
        "clip": Input("CLIP"),
        "lora_name": Input(_loras),
        "strength_model": Input("FLOAT", {**_STRENGTH}),
        "strength_clip": Input("FLOAT", {**_STRENGTH}),
    },
    outputs=("MODEL", "CLIP"),
    display_name="Load LoRA",
    category="loaders",
)

LORA_LOADER_MODEL_ONLY = NodeClass(
    name="LoraLoaderModelOnly",
    run=_load_lora_model_only,
    required={"model": Input("MODEL"), "lora_name": Input(_loras), "strength_model": Input("FLOAT", _STRENGTH)},
    outputs=("MODEL",),
    display_name="LoraLoaderModelOnly",
    category="loaders",
)

VAE_LOADER = NodeClass(
    name="VAELoader",
    run=_load_vae,
    required={"vae_name": Input(_vaes)},
    outputs=("VAE",),
    display_name="Load VAE",
    category="loaders",
)

NODES = (CHECKPOINT_LOADER, LORA_LOADER, LORA_LOADER_MODEL_ONLY, VAE_LOADER)
