"""Nodes on files of tensors: SaveLatent, LoadLatent and VAESave.

Of a latent only ``samples`` are saved; the detail that the engine's own pictures have besides is lost. A saved VAE has
no weights, because there are none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from comfypod.emulator.media.tensors import load_tensors, save_tensors
from comfypod.emulator.nodes.base import Catalog, Input, NodeClass, NodeContext, NodeResult
from comfypod.emulator.nodes.files import content_hash, input_path, output_target, validate_file
from comfypod.emulator.nodes.loaders import PictureCode
from comfypod.emulator.nodes.metadata import embedded_texts

# Latents of before this marker were stored as the VAE gives them, those of today as the sampler takes them.
_VERSION_MARKER = "latent_format_version_0"
_UNMARKED_SCALE = np.float32(1 / 0.18215)


def _save(context: NodeContext, *, samples: dict[str, Any], filename_prefix: str) -> NodeResult:
    target = output_target(context.output_folder, filename_prefix, 0, 0)
    path = target.path(0, "latent")
    tensors = {"latent_tensor": samples["samples"], _VERSION_MARKER: np.zeros(0, dtype=np.float32)}
    save_tensors(path, tensors, embedded_texts(context))
    return NodeResult(ui={"latents": [target.entry(path, "output")]})


def _load(context: NodeContext, latent: str) -> NodeResult:
    tensors = load_tensors(input_path(context, latent))
    samples = tensors["latent_tensor"]
    return NodeResult(({"samples": samples if _VERSION_MARKER in tensors else samples * _UNMARKED_SCALE},))


def _save_vae(context: NodeContext, *, vae: PictureCode, filename_prefix: str) -> NodeResult:
    """Write a file and report nothing, as ComfyUI's nodes that save models do."""
    target = output_target(context.output_folder, filename_prefix, 0, 0)
    save_tensors(target.path(0, "safetensors"), {}, embedded_texts(context) | {"comfypod_vae": vae.name})
    return NodeResult()


def _choices(catalog: Catalog) -> list[str]:
    return [name for name in catalog.input_files() if name.endswith(".latent")]


def _fingerprint(catalog: Catalog, latent: str) -> str:
    return content_hash(catalog, latent)


def _validate(catalog: Catalog, latent: str) -> bool | str:
    return validate_file(catalog, latent, "latent")


SAVE_LATENT = NodeClass(
    name="SaveLatent",
    run=_save,
    required={
        "samples": Input("LATENT"),
        "filename_prefix": Input("STRING", {"default": "latents/ComfyUI"}),
    },
    output_node=True,
    category="_for_testing",
)

LOAD_LATENT = NodeClass(
    name="LoadLatent",
    run=_load,
    required={"latent": Input(_choices)},
    outputs=("LATENT",),
    category="_for_testing",
    fingerprint=_fingerprint,
    validate=_validate,
)

SAVE_VAE = NodeClass(
    name="VAESave",
    run=_save_vae,
    required={"vae": Input("VAE"), "filename_prefix": Input("STRING", {"default": "vae/ComfyUI_vae"})},
    output_node=True,
    category="advanced/model_merging",
)

NODES = (SAVE_LATENT, LOAD_LATENT, SAVE_VAE)
