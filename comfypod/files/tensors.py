"""Safetensors files, which ComfyUI's ``.latent`` files are too: their header, checked and without its metadata.

Format: 8 bytes little-endian length of the header, the header as JSON, then the tensors' bytes (the safetensors
library's README, "Format"; its limit of 100 MB for the header is MAX_HEADER_SIZE in src/tensor.rs).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from comfypod.files.isolation import FileRefused

TENSOR_SUFFIXES = frozenset({".latent", ".safetensors", ".sft"})
MAXIMUM_HEADER_BYTES = 100_000_000
_LENGTH_BYTES = 8
_METADATA = "__metadata__"


def header_bytes(path: Path) -> int:
    """The length that the file gives for its header.

    Raises:
        FileRefused: it is longer than the file, or than the format allows.
    """
    with path.open("rb") as file:
        beginning = file.read(_LENGTH_BYTES)
    length = int.from_bytes(beginning, "little")
    if len(beginning) < _LENGTH_BYTES or length < 2 or _LENGTH_BYTES + length > path.stat().st_size:
        raise FileRefused("is no safetensors file, or a truncated one: its header is longer than the file")
    if length > MAXIMUM_HEADER_BYTES:
        raise FileRefused(f"has a header of {length:,} bytes; safetensors allows {MAXIMUM_HEADER_BYTES:,}")
    return length


def check_tensors(path: Path) -> None:
    """Raise if the file is no safetensors file, or not all of it is there.

    Raises:
        FileRefused: it is not.
    """
    length = header_bytes(path)
    available = path.stat().st_size - _LENGTH_BYTES - length
    with path.open("rb") as file:
        header = _read_header(file, length)
    for name, tensor in header.items():
        if name == _METADATA:
            if not isinstance(tensor, dict) or not all(isinstance(value, str) for value in tensor.values()):
                raise FileRefused("has metadata that are not texts")
        elif not _is_tensor(tensor):
            raise FileRefused(f"has no dtype, shape and data_offsets for the tensor {name[:100]!r}")
        elif tensor["data_offsets"][1] > available:
            raise FileRefused(f"is truncated: the tensor {name[:100]!r} lies beyond its end")


def strip_tensors(source: Path, target: Path) -> None:
    """Write the file without its metadata; the tensors' bytes are copied.

    Raises:
        FileRefused: the source is no safetensors file.
    """
    length = header_bytes(source)
    with source.open("rb") as file, target.open("wb") as output:
        header = _read_header(file, length)
        header.pop(_METADATA, None)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % _LENGTH_BYTES)  # the tensors begin at a multiple of 8
        output.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
        shutil.copyfileobj(file, output)


def _read_header(file: BinaryIO, length: int) -> dict[str, Any]:
    """The header; ``file`` stands at the tensors afterwards."""
    file.seek(_LENGTH_BYTES)
    try:
        header = json.loads(file.read(length), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise FileRefused("has a header that is not valid JSON") from error
    if not isinstance(header, dict):
        raise FileRefused("has a header that is not a JSON object")
    return header


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of two values for one name, readers take different ones."""
    result = dict(pairs)
    if len(result) < len(pairs):
        raise FileRefused("has a header that names something twice")
    return result


def _is_tensor(value: Any) -> bool:  # noqa: ANN401
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("dtype"), str)
        and _are_sizes(value.get("shape"))
        and _are_sizes(offsets := value.get("data_offsets"))
        and len(offsets) == 2
        and offsets[0] <= offsets[1]
    )


def _are_sizes(value: Any) -> TypeGuard[list[int]]:  # noqa: ANN401
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
