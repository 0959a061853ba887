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
_NEGATIVE_TOO = "This value can be negative."

CHECKPOINT_LOADER = NodeClass(
    name="CheckpointLoaderSimple",
    run=_load_checkpoint,
    required={"ckpt_name": Input(_checkpoints, {"tooltip": "The name of the checkpoint (model) to load."})},
    outputs=("MODEL", "CLIP", "VAE"),
    display_name="Load Checkpoint",
    category="loaders",
    description="Loads a diffusion model checkpoint, diffusion models are used to denoise latents.",
)

LORA_LOADER = NodeClass(
    name="LoraLoader",
    run=_load_lora,
    required={
        "model": Input("MODEL", {"tooltip": "The diffusion model the LoRA will be applied to."}),
        "clip": Input("CLIP", {"tooltip": "The CLIP model the LoRA will be applied to."}),
        "lora_name": Input(_loras, {"tooltip": "The name of the LoRA."}),
        "strength_model": Input(
            "FLOAT", {**_STRENGTH, "tooltip": f"How strongly to modify the diffusion model. {_NEGATIVE_TOO}"}
        ),
        "strength_clip": Input(
            "FLOAT", {**_STRENGTH, "tooltip": f"How strongly to modify the CLIP model. {_NEGATIVE_TOO}"}
        ),
    },
    outputs=("MODEL", "CLIP"),
    display_name="Load LoRA",
    category="loaders",
    description=(
        "LoRAs are used to modify diffusion and CLIP models, altering the way in which latents are denoised such as "
        "applying styles. Multiple LoRA nodes can be linked together."
    ),
)

LORA_LOADER_MODEL_ONLY = NodeClass(
    name="LoraLoaderModelOnly",
    run=_load_lora_model_only,
    required={"model": Input("MODEL"), "lora_name": Input(_loras), "strength_model": Input("FLOAT", _STRENGTH)},
    outputs=("MODEL",),
    display_name="LoraLoaderModelOnly",
    category="loaders",
    description=LORA_LOADER.description,
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
