"""The outer structure of PNG, WEBP and JPEG files: where each part begins and ends; nothing is decoded.

Sources: PNG specification (W3C, third edition) 5.3 and 11.3; WebP container specification (RFC 9649) 2.3 to 2.7;
JPEG (ITU-T T.81) annex B.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

from comfypod.files.isolation import FileRefused

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"

MAXIMUM_PARTS = 1_000_000
"""More parts than any real file has; it bounds the time that a file made of empty ones takes."""

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_STANDALONE_MARKERS = {0x01, *range(0xD0, 0xD8)}
# In compressed data 0xFF is followed by 0 or by a restart marker; anything else begins the next segment.
_NEXT_SEGMENT = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk or segment: all of it is ``data[start:end]``; what it holds is ``data[content:content + length]``."""

    kind: bytes
    start: int
    end: int
    content: int
    length: int


@contextmanager
def mapped(path: Path) -> Iterator[mmap]:
    """The file's bytes, read only where they are looked at.

    Raises:
        FileRefused: the file is empty.
    """
    with path.open("rb") as file:
        try:
            data = mmap(file.fileno(), 0, access=ACCESS_READ)
        except ValueError as error:
            raise FileRefused("is empty") from error
        with data:
            yield data


def is_webp(head: bytes) -> bool:
    """Whether the file that begins with these 12 bytes is a WEBP picture."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def png_chunks(data: mmap) -> Iterator[Part]:
    """The chunks of a PNG file, up to and with IEND; ``kind`` is the chunk's type.

    Raises:
        FileRefused: it ends before IEND.
    """
    position = len(PNG_SIGNATURE)
    for _ in range(MAXIMUM_PARTS):
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data):
            break
        yield Part(kind, position, end, position + 8, length)
        if kind == b"IEND":
            return
        position = end
    raise FileRefused("is a truncated PNG picture")


def webp_chunks(data: mmap) -> Iterator[Part]:
    """The chunks of a WEBP file; ``kind`` is the chunk's type, and ``end`` has the padding to an even length.

    Raises:
        FileRefused: it ends before the length that its header gives.
    """
    limit = 8 + int.from_bytes(data[4:8], "little")
    position = 12
    for _ in range(MAXIMUM_PARTS):
        if position + 8 > limit:
            return
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        end = position + 8 + length + length % 2
        if end > min(limit + 1, len(data) + length % 2):
            break
        yield Part(data[position : position + 4], position, end, position + 8, length)
        position = end
    raise FileRefused("is a truncated WEBP picture")


def jpeg_segments(data: mmap) -> Iterator[Part]:
    """The segments of a JPEG file, up to and with its end (EOI); ``kind`` is the marker's second byte.

    The compressed data belong to the segment that announces them (SOS).

    Raises:
        FileRefused: it ends before its end marker, or has something else where a marker should be.
    """
    yield Part(bytes([_SOI]), 0, 2, 2, 0)
    position = 2
    for _ in range(MAXIMUM_PARTS):
        while data[position : position + 2] == b"\xff\xff":  # any number of fill bytes may precede a marker
            position += 1
        introducer, marker = data[position : position + 1], data[position + 1 : position + 2]
        if introducer != b"\xff" or not marker:
            break
        segment = _jpeg_segment(data, position, marker)
        yield segment
        if marker[0] == _EOI:
            return
        position = segment.end
    raise FileRefused("is a truncated JPEG picture")


def _jpeg_segment(data: mmap, position: int, marker: bytes) -> Part:
    if marker[0] == _EOI or marker[0] in _STANDALONE_MARKERS:
        return Part(marker, position, position + 2, position + 2, 0)
    length = int.from_bytes(data[position + 2 : position + 4], "big")
    end = position + 2 + length
    if length < 2 or end > len(data):
        raise FileRefused("is a truncated JPEG picture")
    content = Part(marker, position, end, position + 4, length - 2)
    if marker[0] != _SOS:
        return content
    following = _NEXT_SEGMENT.search(data, end)
    if following is None:
        raise FileRefused("is a truncated JPEG picture")
    return Part(marker, position, following.start(), content.content, content.length)
