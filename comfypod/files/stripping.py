"""Pictures without their metadata, and otherwise bit for bit the same: parts are left out, nothing is encoded anew.

What stays is what says how the pixels look: colour profiles, transparency, animation, and of EXIF the orientation.
Everything else goes, also parts that nobody knows, for they may tell what should not be told.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from mmap import mmap
from pathlib import Path

from PIL import Image
from PIL.ExifTags import Base

from comfypod.files.chunks import (
    JPEG_SIGNATURE,
    PNG_SIGNATURE,
    Part,
    is_webp,
    jpeg_segments,
    mapped,
    png_chunks,
    webp_chunks,
)
from comfypod.files.isolation import FileRefused
from comfypod.files.pictures import FAILURES

# PNG specification, third edition, 11.3: the ancillary chunks that change how the picture looks. A chunk whose name
# begins with a capital is critical: without it the picture cannot be decoded (5.4).
_PNG_KEPT = frozenset(b"acTL bKGD cHRM cICP cLLI fcTL fdAT gAMA hIST iCCP mDCV pHYs sBIT sPLT sRGB tRNS".split())
_WEBP_KEPT = frozenset([b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"])
_WEBP_EXIF_FLAG, _WEBP_XMP_FLAG = 0x08, 0x04  # RFC 9649, 2.7.1
_JPEG_APPLICATION = range(0xE0, 0xF0)
_JPEG_COMMENT = 0xFE
_EXIF_PREFIX = b"Exif\0\0"
_LARGEST_EXIF_BYTES = 1024**2


def strip_picture(source: Path, target: Path) -> None:
    """Write a PNG, JPEG or WEBP file without its metadata to ``target``.

    Raises:
        FileRefused: it is another kind of file, or broken.
    """
    with mapped(source) as data:
        pieces = _writer_of(data[:12])(data)
        with target.open("wb") as output:
            for piece in pieces:
                output.write(piece)
            if is_webp(data[:12]):
                size_bytes = output.tell()
                output.seek(4)
                output.write((size_bytes - 8).to_bytes(4, "little"))


def is_strippable(head: bytes) -> bool:
    """Whether the file that begins with these 12 bytes is of a kind that `strip_picture` takes."""
    return head.startswith((PNG_SIGNATURE, JPEG_SIGNATURE)) or is_webp(head)


def _writer_of(head: bytes) -> Callable[[mmap], Iterator[bytes]]:
    if head.startswith(PNG_SIGNATURE):
        return _png_pieces
    if head.startswith(JPEG_SIGNATURE):
        return _jpeg_pieces
    if is_webp(head):
        return _webp_pieces
    raise FileRefused("is no PNG, JPEG or WEBP picture")


def _png_pieces(data: mmap) -> Iterator[bytes]:
    yield PNG_SIGNATURE
    for chunk in png_chunks(data):
        if chunk.kind in _PNG_KEPT or chunk.kind[:1].isupper():
            yield data[chunk.start : chunk.end]
        elif chunk.kind == b"eXIf" and (exif := _orientation_only(data, chunk)):
            body = chunk.kind + exif
            yield struct.pack(">I", len(exif)) + body + struct.pack(">I", zlib.crc32(body))


def _jpeg_pieces(data: mmap) -> Iterator[bytes]:
    for segment in jpeg_segments(data):
        if _is_jpeg_picture(data, segment):
            yield data[segment.start : segment.end]
        elif data[segment.content : segment.content + 6] == _EXIF_PREFIX and (exif := _orientation_only(data, segment)):
            yield b"\xff\xe1" + struct.pack(">H", 2 + len(_EXIF_PREFIX) + len(exif)) + _EXIF_PREFIX + exif


def _is_jpeg_picture(data: mmap, segment: Part) -> bool:
    """Whether a segment is needed to show the picture; of the applications' own, three kinds are."""
    marker = segment.kind[0]
    if marker == _JPEG_COMMENT:
        return False
    if marker not in _JPEG_APPLICATION:
        return True
    begins = data[segment.content : segment.content + 12]
    # JFIF: the density of pixels; ICC: the colours' profile; Adobe: how the colours are stored.
    return begins[:5] == b"JFIF\0" or begins == b"ICC_PROFILE\0" or begins[:5] == b"Adobe"


def _webp_pieces(data: mmap) -> Iterator[bytes]:
    exifs = [exif for chunk in webp_chunks(data) if chunk.kind == b"EXIF" and (exif := _orientation_only(data, chunk))]
    yield b"RIFF\0\0\0\0WEBP"  # the size is written last
    for chunk in webp_chunks(data):
        if chunk.kind not in _WEBP_KEPT:
            continue
        piece = bytearray(data[chunk.start : chunk.end])
        if chunk.kind == b"VP8X":
            piece[8] &= ~(_WEBP_XMP_FLAG | (0 if exifs else _WEBP_EXIF_FLAG))
        yield bytes(piece)
    for exif in exifs[:1]:
        yield b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2)


def _orientation_only(data: mmap, part: Part) -> bytes:
    """EXIF that says how the picture is turned, and nothing else; empty where it is upright."""
    if part.length > _LARGEST_EXIF_BYTES:
        return b""
    exif = Image.Exif()
    try:
        exif.load(data[part.content : part.content + part.length])
        orientation = exif.get(Base.Orientation)
    except FAILURES:  # what cannot be read is metadata all the same
        return b""
    if orientation not in range(2, 9):
        return b""
    minimal = Image.Exif()
    minimal[Base.Orientation] = orientation
    return minimal.tobytes().removeprefix(_EXIF_PREFIX)
