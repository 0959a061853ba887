"""Files of tensors in the ``safetensors`` format: a length, a JSON header that says where each tensor lies, the bytes.

The format: https://github.com/huggingface/safetensors#format. Only what latents need: plain floating point numbers.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from comfypod.emulator.media.values import FloatArray

LIMIT_FILE_BYTES = 1 << 28
"""Larger files are not read. A latent of the largest picture that the engine draws has 4 MB."""

_LIMIT_HEADER_BYTES = 1 << 24
_DTYPES: Mapping[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


class SafetensorError(Exception):
    """A file that is not of this format. The library that ComfyUI uses has an error of the same name."""


def save_tensors(path: Path, tensors: Mapping[str, FloatArray], metadata: Mapping[str, str]) -> None:
    """Write float32 tensors."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.size * 4
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # The tensors begin at a multiple of 8.
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor, dtype="<f4").tobytes())


def load_tensors(path: Path) -> dict[str, FloatArray]:
    """Read every tensor, as float32.

    Raises:
        SafetensorError: the file is of another format, cut off, too large, or holds numbers of another kind.
        OSError: it cannot be read.
    """
    if path.stat().st_size > LIMIT_FILE_BYTES:
        raise SafetensorError(f"{path.name} has more than {LIMIT_FILE_BYTES} bytes; a latent has far fewer")
    content = path.read_bytes()
    length = struct.unpack_from("<Q", content)[0] if len(content) >= 8 else 0
    if not 0 < length <= min(len(content) - 8, _LIMIT_HEADER_BYTES):
        raise SafetensorError("Error while deserializing header: invalid header length")
    try:
        header = json.loads(content[8 : 8 + length])
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        return {name: _tensor(entry, memoryview(content)[8 + length :]) for name, entry in entries.items()}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise SafetensorError(f"Error while deserializing header: {error}") from error


def _tensor(entry: Mapping[str, Any], data: memoryview) -> FloatArray:
    """Cut one tensor out; whatever is wrong with its entry is one of the errors that the caller knows."""
    dtype, shape = _DTYPES[entry["dtype"]], entry["shape"]
    start, end = entry["data_offsets"]
    is_inside = 0 <= start <= end <= len(data)
    if not is_inside or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != end - start:
        raise ValueError("a tensor does not have the size that its shape demands")
    values: npt.NDArray[Any] = np.frombuffer(data[start:end], dtype=dtype)
    return values.reshape(shape).astype(np.float32)
