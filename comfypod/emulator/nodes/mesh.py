"""Nodes on bodies: from an empty latent to a GLB file, with the classes of ``nodes_hunyuan3d.py``, ComfyUI 0.8.2.

The engine's world has no bodies: whatever the latent and the VAE, VAEDecodeHunyuan3D gives a ball.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from comfypod.emulator.media.meshes import Mesh, save_glb, surface
from comfypod.emulator.nodes.base import FloatArray, Input, NodeClass, NodeContext, NodeResult
from comfypod.emulator.nodes.files import output_target
from comfypod.emulator.nodes.loaders import PictureCode
from comfypod.emulator.nodes.metadata import embedded_texts

LIMIT_VOXELS = 1 << 25
"""Voxels of a batch: 33.5 million, 128 MB as float32."""

_LATENT_CHANNELS = 64


def _empty(_context: NodeContext, *, resolution: int, batch_size: int) -> NodeResult:
    samples = np.zeros((batch_size, _LATENT_CHANNELS, resolution), dtype=np.float32)
    return NodeResult(({"samples": samples, "type": "hunyuan3dv2"},))


def _decode(
    _context: NodeContext, *, samples: Mapping[str, Any], vae: PictureCode, num_chunks: int, octree_resolution: int
) -> NodeResult:
    """Return ``[B, n, n, n]``, -1..1: at 0.6, the threshold that ComfyUI suggests, a ball of 0.7 of the width."""
    del vae, num_chunks
    batch, side = samples["samples"].shape[0], octree_resolution + 1
    if batch * side**3 > LIMIT_VOXELS:
        raise MemoryError(
            f"{batch} x {side}³ voxels are more than the built-in engine handles at once ({LIMIT_VOXELS}); "
            "use a smaller octree_resolution or batch"
        )
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    ball = np.clip(2 * (1 - radius), -1, 1)
    return NodeResult((np.broadcast_to(ball, (batch, side, side, side)),))


def _to_mesh(_context: NodeContext, *, voxel: FloatArray, threshold: float) -> NodeResult:
    return NodeResult(([surface(body, threshold) for body in voxel],))


def _save(context: NodeContext, *, mesh: Sequence[Mesh], filename_prefix: str) -> NodeResult:
    target = output_target(context.output_folder, filename_prefix, 0, 0)
    entries: list[dict[str, str]] = []
    for index, body in enumerate(mesh):
        path = target.path(index, "glb")
        save_glb(path, body, embedded_texts(context))
        entries.append(target.entry(path, "output"))
    return NodeResult(ui={"3d": entries})


EMPTY_LATENT_3D = NodeClass(
    name="EmptyLatentHunyuan3Dv2",
    run=_empty,
    required={
        "resolution": Input("INT", {"default": 3072, "min": 1, "max": 8192}),
        "batch_size": Input("INT", {"default": 1, "min": 1, "max": 4096}),
    },
    outputs=("LATENT",),
    category="latent/3d",
)

VAE_DECODE_3D = NodeClass(
    name="VAEDecodeHunyuan3D",
    run=_decode,
    required={
        "samples": Input("LATENT"),
        "vae": Input("VAE"),
        "num_chunks": Input("INT", {"default": 8000, "min": 1000, "max": 500000}),
        "octree_resolution": Input("INT", {"default": 256, "min": 16, "max": 512}),
    },
    outputs=("VOXEL",),
    category="latent/3d",
)

VOXEL_TO_MESH = NodeClass(
    name="VoxelToMeshBasic",
    run=_to_mesh,
    required={
        "voxel": Input("VOXEL"),
        "threshold": Input("FLOAT", {"default": 0.6, "min": -1.0, "max": 1.0, "step": 0.01}),
    },
    outputs=("MESH",),
    category="3d",
)

SAVE_GLB = NodeClass(
    name="SaveGLB",
    run=_save,
    required={
        "mesh": Input("MESH"),
        "filename_prefix": Input("STRING", {"default": "mesh/ComfyUI", "multiline": False}),
    },
    output_node=True,
    category="3d",
)

NODES = (EMPTY_LATENT_3D, VAE_DECODE_3D, VOXEL_TO_MESH, SAVE_GLB)
