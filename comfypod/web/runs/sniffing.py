"""What an uploaded file is, by its first bytes: its name and what the browser says of it prove nothing. Pure.

The size in pixels is the one that is stored, before any rotation that metadata ask for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

HEAD_BYTES = 512 * 1024
"""So much of a file is looked at: a JPEG may have large metadata before its size."""
UNKNOWN_TYPE = "application/octet-stream"

_SIGNATURES: tuple[tuple[bytes, int, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF87a", 0, "image/gif"),
    (b"GIF89a", 0, "image/gif"),
    (b"WEBP", 8, "image/webp"),
    (b"WAVE", 8, "audio/wav"),
    (b"ftypavif", 4, "image/avif"),
    (b"ftypM4A ", 4, "audio/mp4"),
    (b"ftypqt  ", 4, "video/quicktime"),
    (b"ftyp", 4, "video/mp4"),
    (b"\x1aE\xdf\xa3", 0, "video/webm"),
    (b"OggS", 0, "audio/ogg"),
    (b"fLaC", 0, "audio/flac"),
    (b"ID3", 0, "audio/mpeg"),
    (b"\xff\xfb", 0, "audio/mpeg"),
)
"""What stands where in a file of each type; the first that fits counts."""


@dataclass(frozen=True, slots=True)
class Sniffed:
    """A content type, and the size of a picture where it is known."""

    content_type: str
    width: int | None = None
    height: int | None = None


def sniff(head: bytes) -> Sniffed:
    """Tell what begins with these bytes, the first `HEAD_BYTES` of a file."""
    types = (kind for signature, place, kind in _SIGNATURES if head[place : place + len(signature)] == signature)
    content_type = next(types, UNKNOWN_TYPE)
    read_size = _SIZES.get(content_type)
    try:
        size = read_size(head) if read_size else None
    except (struct.error, IndexError):
        size = None
    return Sniffed(content_type, *size) if size and all(size) else Sniffed(content_type)


def _png_size(head: bytes) -> tuple[int, int]:
    """PNG specification (W3C, third edition), 11.2.1: IHDR comes first."""
    return struct.unpack_from(">II", head, 16)


def _gif_size(head: bytes) -> tuple[int, int]:
    """GIF89a specification, 18: the logical screen."""
    return struct.unpack_from("<HH", head, 6)


def _webp_size(head: bytes) -> tuple[int, int] | None:
    """RFC 9649, 2.5 to 2.7, RFC 6386, 9.1: three kinds of first chunk."""
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", head, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """ITU-T T.81, B.2.2: the frame header (SOF0 to SOF15, but DHT, JPG and DAC) behind other segments."""
    position = 2
    while position + 9 <= len(head) and head[position] == 0xFF:
        marker = head[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack_from(">HH", head, position + 5)
            return width, height
        position += 2 + max(2, struct.unpack_from(">H", head, position + 2)[0])
    return None


_SIZES: dict[str, Callable[[bytes], tuple[int, int] | None]] = {
    "image/png": _png_size,
    "image/gif": _gif_size,
    "image/webp": _webp_size,
    "image/jpeg": _jpeg_size,
}
