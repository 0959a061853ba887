"""Bodies: closed surfaces, and GLB files that say what they hold."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comfypod.emulator.media.meshes import Mesh, surface
from comfypod.emulator.nodes.base import NodeResult

CallNode = Callable[..., NodeResult]


def volume(mesh: Mesh) -> float:
    """The volume inside of a closed surface whose triangles are seen from outside; negative from inside."""
    first, second, third = np.moveaxis(mesh.vertices.astype(np.float64)[mesh.faces], 1, 0)
    return float(np.einsum("ij,ij->", first, np.cross(second, third)) / 6)


def glb(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    magic, version, size = struct.unpack("<4sII", content[:12])
    assert (magic, version, size) == (b"glTF", 2, len(content))
    length, kind = struct.unpack("<I4s", content[12:20])
    assert (length % 4, kind) == (0, b"JSON")
    binary_length, kind = struct.unpack("<I4s", content[20 + length : 28 + length])
    assert (20 + length + 8 + binary_length, kind) == (len(content), b"BIN\0")
    return json.loads(content[20 : 20 + length]), content[28 + length :]


def test_a_voxel_becomes_a_cube() -> None:
    voxels = np.zeros((4, 4, 4), dtype=np.float32)
    voxels[1, 2, 3] = 1  # z, y, x
    mesh = surface(voxels, 0.5)
    assert mesh.vertices.shape == (24, 3)
    assert mesh.faces.shape == (12, 3)
    assert mesh.vertices.min(axis=0).tolist() == [0.5, 0.0, -0.5]
    assert mesh.vertices.max(axis=0).tolist() == [1.0, 0.5, 0.0]
    assert abs(volume(mesh)) == pytest.approx(0.5**3)


def test_sides_between_voxels_are_left_out() -> None:
    assert len(surface(np.ones((2, 3, 4), dtype=np.float32), 0.5).faces) == 2 * 2 * (6 + 8 + 12)


def test_nothing_becomes_one_flat_triangle() -> None:
    mesh = surface(np.zeros((2, 2, 2), dtype=np.float32), 0.5)
    assert (mesh.vertices.shape, mesh.faces.tolist()) == ((1, 3), [[0, 0, 0]])


def test_a_latent_becomes_a_glb_file(call: CallNode, context: Any) -> None:
    context.prompt = {"9": {"class_type": "SaveGLB"}}
    (latent,) = call("EmptyLatentHunyuan3Dv2", batch_size=2).outputs
    (voxels,) = call("VAEDecodeHunyuan3D", samples=latent, vae=None, octree_resolution=32).outputs
    assert voxels.shape == (2, 33, 33, 33)
    (meshes,) = call("VoxelToMeshBasic", voxel=voxels).outputs
    # A ball of 0.7 of the width, up to its steps.
    assert abs(volume(meshes[0])) == pytest.approx(4 / 3 * np.pi * 0.7**3, rel=0.1)
    result = call("SaveGLB", mesh=meshes)
    names = ["ComfyUI_00001_.glb", "ComfyUI_00002_.glb"]
    assert result.ui == {"3d": [{"filename": name, "subfolder": "mesh", "type": "output"} for name in names]}
    document, data = glb(context.output_folder / "mesh" / names[1])
    assert json.loads(document["asset"]["extras"]["prompt"]) == context.prompt
    corners, triangles = document["accessors"]
    assert (corners["count"], triangles["count"]) == (len(meshes[1].vertices), meshes[1].faces.size)
    assert data == meshes[1].vertices.tobytes() + meshes[1].faces.tobytes()
    assert document["buffers"] == [{"byteLength": len(data)}]


def test_too_many_voxels_are_refused(call: CallNode) -> None:
    (latent,) = call("EmptyLatentHunyuan3Dv2").outputs
    with pytest.raises(MemoryError, match="smaller octree_resolution"):
        call("VAEDecodeHunyuan3D", samples=latent, vae=None, octree_resolution=512)
