"""What a file is: size in pixels, duration, frames. Hostile files cost little time, little memory, and no crash."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from comfypod.files import pictures
from comfypod.files.chunks import JPEG_SIGNATURE, PNG_SIGNATURE, is_webp, mapped, png_chunks
from comfypod.files.isolation import FileRefused, run_isolated
from comfypod.files.pictures import PictureFacts

EVERYDAY_BYTES = 16 * 1024**2
"""PNG, JPEG and WEBP files up to this size are looked at here: their headers are read in milliseconds, hostile or not
(JPEG's time grows with the square of the size: 0.1 s for this much EXIF). Others go to a process of their own."""


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What is cheaply known of a file; None where it is not, or where there is no such thing.

    ``width`` and ``height`` are those stored, before any rotation that metadata ask for; ``frames`` is 1 for a still
    picture.
    """

    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None
    frames: int | None = None


def probe(path: Path, content_type: str) -> MediaInfo:
    """What is cheaply known of an output file; a broken one, or one that is gone, has no facts. It never raises."""
    kind = content_type.partition("/")[0]
    try:
        if kind == "image":
            if (size := _still_png_size(path)) is not None:
                return MediaInfo(*size, None, 1)
            picture = look_at_picture(path)
            return MediaInfo(picture.width, picture.height, picture.duration_seconds, picture.frames)
        if kind in {"audio", "video"}:
            streams = look_at_streams(path)
            return MediaInfo(streams["width"], streams["height"], streams["duration_seconds"], streams["frames"])
    except (FileRefused, OSError):
        return MediaInfo()
    return MediaInfo()


def _still_png_size(path: Path) -> tuple[int, int] | None:
    """Width and height of a PNG that is no animation, whatever its size, without Pillow; None of other files.

    PNG specification (W3C, third edition), 11.2.1: IHDR comes first; 11.3.6.2: acTL before the first IDAT.
    """
    with path.open("rb") as file:
        head = file.read(33)
    if not head.startswith(PNG_SIGNATURE) or head[8:16] != b"\0\0\0\x0dIHDR":
        return None
    width, height = struct.unpack(">II", head[16:24])
    if not (width and height) or zlib.crc32(head[12:29]) != int.from_bytes(head[29:], "big"):
        return None
    with mapped(path) as data:
        for chunk in png_chunks(data):
            if chunk.kind == b"IDAT":
                return width, height
            if chunk.kind == b"acTL":
                break
    return None


def look_at_picture(path: Path) -> PictureFacts:
    """What the picture's header tells.

    Raises:
        FileRefused: it is no picture that can be opened.
    """
    if _is_everyday(path):
        return pictures.picture_facts(path)
    return PictureFacts(**run_isolated("look_at_picture", str(path.absolute())))


def check_picture(path: Path, maximum_pixels: int) -> None:
    """Raise unless the picture is whole and has at most ``maximum_pixels`` in all frames together.

    Raises:
        FileRefused: it is not.
    """
    if _is_everyday(path):
        pictures.check_picture(path, maximum_pixels)
    else:
        run_isolated("check_picture", str(path.absolute()), maximum_pixels)


def look_at_streams(path: Path) -> dict[str, int | None]:
    """The fields of `streams.StreamFacts`; that module is not imported here, because libav is not.

    Raises:
        FileRefused: it is neither video nor sound that can be read.
    """
    facts: dict[str, int | None] = run_isolated("look_at_streams", str(path.absolute()))
    return facts


def _is_everyday(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(12)
    known = head.startswith((PNG_SIGNATURE, JPEG_SIGNATURE)) or is_webp(head)
    return known and path.stat().st_size <= EVERYDAY_BYTES
