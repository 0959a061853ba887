"""Surfaces of voxels, and GLB files of them: ``nodes_hunyuan3d.py`` of ComfyUI 0.8.2."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comfypod.emulator.media.values import FloatArray

# Where each of the six sides of a voxel looks (z, y, x), and its four corners, seen from outside.
_SIDES = (
    ((0, 0, 1), ((0, 0, 1), (0, 1, 1), (1, 1, 1), (1, 0, 1))),
    ((0, 0, -1), ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0))),
    ((0, 1, 0), ((0, 1, 0), (1, 1, 0), (1, 1, 1), (0, 1, 1))),
    ((0, -1, 0), ((0, 0, 0), (0, 0, 1), (1, 0, 1), (1, 0, 0))),
    ((1, 0, 0), ((1, 0, 1), (1, 1, 1), (1, 1, 0), (1, 0, 0))),
    ((-1, 0, 0), ((0, 1, 0), (0, 1, 1), (0, 0, 1), (0, 0, 0))),
)
# Of the khronos.org glTF 2.0 specification.
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_FLOAT, _UNSIGNED_INT, _TRIANGLES = 5126, 5125, 4
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942


@dataclass(frozen=True, slots=True)
class Mesh:
    """One body: corners ``[n, 3]`` (x, y, z; -1..1) and triangles ``[m, 3]``, which are numbers of corners."""

    vertices: FloatArray
    faces: npt.NDArray[np.uint32]


def surface(voxels: FloatArray, threshold: float) -> Mesh:
    """Wrap the voxels ``[D, H, W]`` above a threshold in squares, two triangles each.

    Nothing above the threshold gives one corner and one triangle without area, as in ComfyUI.
    """
    solid = voxels > threshold
    padded = np.pad(solid, 1)
    corners = []
    for direction, offsets in _SIDES:
        window = tuple(slice(1 + step, 1 + step + size) for step, size in zip(direction, solid.shape, strict=True))
        exposed = np.argwhere(solid & ~padded[window])
        corners.append((exposed[:, None] + np.array(offsets)).reshape(-1, 3))
    vertices = np.concatenate(corners)
    if not len(vertices):
        return Mesh(np.zeros((1, 3), dtype=np.float32), np.zeros((1, 3), dtype=np.uint32))
    squares = np.arange(len(vertices), dtype=np.uint32).reshape(-1, 4)
    half = max(voxels.shape) / 2
    return Mesh(
        np.ascontiguousarray((vertices[:, ::-1] - half) / half, dtype=np.float32),
        np.concatenate([squares[:, [0, 1, 2]], squares[:, [0, 2, 3]]]),
    )


def save_glb(path: Path, mesh: Mesh, texts: Mapping[str, str]) -> None:
    """Write a mesh; ``texts`` say how it was made (``asset.extras``)."""
    vertices, faces = mesh.vertices.astype("<f4").tobytes(), mesh.faces.astype("<u4").tobytes()
    document = json.dumps(_document(mesh, len(vertices), len(faces), texts)).encode()
    document += b" " * (-len(document) % 4)
    size = 12 + 8 + len(document) + 8 + len(vertices) + len(faces)
    with path.open("wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, size))
        file.write(struct.pack("<II", len(document), _JSON_CHUNK) + document)
        file.write(struct.pack("<II", len(vertices) + len(faces), _BINARY_CHUNK))
        file.write(vertices)
        file.write(faces)


def _document(mesh: Mesh, vertices_bytes: int, faces_bytes: int, texts: Mapping[str, str]) -> dict[str, object]:
    return {
        "asset": {"version": "2.0", "generator": "ComfyUI", "extras": dict(texts)},
        "buffers": [{"byteLength": vertices_bytes + faces_bytes}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": vertices_bytes, "target": _ARRAY_BUFFER},
            {"buffer": 0, "byteOffset": vertices_bytes, "byteLength": faces_bytes, "target": _ELEMENT_ARRAY_BUFFER},
        ],
        "accessors": [
            {
                "bufferView": 0,
                "byteOffset": 0,
                "componentType": _FLOAT,
                "count": len(mesh.vertices),
                "type": "VEC3",
                "max": mesh.vertices.max(axis=0).tolist(),
                "min": mesh.vertices.min(axis=0).tolist(),
            },
            {
                "bufferView": 1,
                "byteOffset": 0,
                "componentType": _UNSIGNED_INT,
                "count": mesh.faces.size,
                "type": "SCALAR",
            },
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "mode": _TRIANGLES}]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }
