"""What Pillow says of a picture; its header is read, and nothing decoded where that can be helped."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from mmap import mmap
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from comfypod.files.chunks import jpeg_segments, mapped, png_chunks, webp_chunks
from comfypod.files.isolation import FileRefused, HoldsSomethingElse

# Pillow's own limit is one number for the whole process, and its first stage is a warning, which threads cannot catch
# for themselves. Every picture that is opened here is held to a limit by whoever opens it.
Image.MAX_IMAGE_PIXELS = None

ACCEPTED_FORMATS = (
    *("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "ICO", "ICNS", "PSD", "TGA"),
    *("PPM", "QOI", "DDS", "PCX", "SGI"),
)
"""Pillow's names (JPEG brings MPO). Left out on purpose: EPS, which runs Ghostscript, and what is no picture (HDF5,
GRIB, MPEG, FITS)."""

DECODED_PIXELS = 25_000_000
"""Pictures of rare kinds up to this size are decoded once, to see whether they are whole; a second or two of work."""

# What Pillow raises on broken files.
FAILURES = (
    *(OSError, ValueError, SyntaxError, EOFError, ArithmeticError, LookupError, TypeError, AttributeError),
    *(struct.error, zlib.error),
)


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What a header tells; ``pixels`` are those of all ``frames`` together, ``format`` is Pillow's name."""

    format: str
    width: int
    height: int
    frames: int
    pixels: int
    duration_seconds: float | None

    @property
    def is_animated(self) -> bool:
        """Whether it is an animation, or has several pages; layers and sizes of one picture are neither."""
        return self.frames > 1 and self.format in {"PNG", "WEBP", "GIF", "AVIF", "TIFF"}


def limit_nested_pictures(maximum_pixels: int) -> None:
    """Let Pillow itself refuse what is larger, in this whole process: the pictures inside a picture, too."""
    Image.MAX_IMAGE_PIXELS = maximum_pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)


@cache
def picture_suffixes() -> frozenset[str]:
    """The suffixes, with their dots, that files of the accepted formats have."""
    Image.init()  # imports all plug-ins: 30 ms
    return frozenset(suffix for suffix, format_ in Image.EXTENSION.items() if format_ in ACCEPTED_FORMATS)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The picture, its header read; whatever Pillow raises inside is one error.

    Raises:
        FileRefused: it is no picture of the accepted formats, or a broken one.
        OSError: the file cannot be read.
    """
    try:
        with Image.open(path, formats=ACCEPTED_FORMATS) as image:
            yield image
    except UnidentifiedImageError as error:
        raise HoldsSomethingElse("holds no picture that can be opened") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise FileRefused("holds a picture inside that is larger than is allowed") from error
    except FAILURES as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not Pillow's
            raise
        # The words of Pillow's own errors name the fault, and never the path.
        raise FileRefused(f"is a broken picture ({error or type(error).__name__})") from error


def picture_facts(path: Path) -> PictureFacts:
    """What the header tells, and for animations the frames' durations.

    Raises:
        FileRefused: it is no picture of the accepted formats, or a broken one.
    """
    with opened(path) as image:
        return _facts(image, path)


def check_picture(path: Path, maximum_pixels: int) -> PictureFacts:
    """The facts of a picture that is whole and has at most ``maximum_pixels`` in all frames together.

    Raises:
        FileRefused: it is not.
    """
    with opened(path) as image:
        facts = _facts(image, path)
        if facts.pixels > maximum_pixels:
            raise FileRefused(too_many_pixels(facts, maximum_pixels))
        _check_whole(image, facts, path)
    return facts


def too_many_pixels(facts: PictureFacts, maximum_pixels: int) -> str:
    """The clause."""
    frames = f" in {facts.frames:,} frames" if facts.frames > 1 else ""
    return (
        f"is a picture of {facts.width} x {facts.height} pixels{frames}, more than the {maximum_pixels:,} pixels "
        "that are allowed (MAXIMUM_IMAGE_PIXELS)"
    )


def _facts(image: Image.Image, path: Path) -> PictureFacts:
    frames = max(1, int(getattr(image, "n_frames", 1)))  # a PSD without layers has none, and yet a picture
    format_ = image.format or ""
    width, height = image.size
    pixels = _tiff_pixels(image, frames) if format_ == "TIFF" else width * height * frames
    duration = _duration_seconds(image, path, frames, pixels) if frames > 1 else None
    return PictureFacts(format_, width, height, frames, pixels, duration)


def _tiff_pixels(image: Image.Image, frames: int) -> int:
    """The pages of a TIFF have sizes of their own."""
    pixels = 0
    for frame in range(frames):
        image.seek(frame)
        pixels += image.width * image.height
    image.seek(0)
    return pixels


def _duration_seconds(image: Image.Image, path: Path, frames: int, pixels: int) -> float | None:
    if image.format in {"PNG", "WEBP"}:
        with mapped(path) as data:
            return sum(_png_delays(data) if image.format == "PNG" else _webp_delays(data))
    if image.format not in {"GIF", "AVIF"} or pixels > DECODED_PIXELS:
        return None
    # Pillow tells a frame's duration only after having decoded those before it.
    milliseconds = 0.0
    for frame in range(frames):
        image.seek(frame)
        if image.format == "AVIF":
            image.load()
        milliseconds += image.info.get("duration", 0)
    image.seek(0)
    return milliseconds / 1000


def _png_delays(data: mmap) -> Iterator[float]:
    """Seconds of each frame: numerator and denominator in fcTL, where a denominator of 0 means 100."""
    for chunk in png_chunks(data):
        if chunk.kind == b"fcTL" and chunk.length == 26:
            numerator, denominator = struct.unpack(">HH", data[chunk.content + 20 : chunk.content + 24])
            yield numerator / (denominator or 100)


def _webp_delays(data: mmap) -> Iterator[float]:
    """Seconds of each frame: milliseconds in three bytes of ANMF."""
    for chunk in webp_chunks(data):
        if chunk.kind == b"ANMF":
            yield int.from_bytes(data[chunk.content + 12 : chunk.content + 15], "little") / 1000


def _check_whole(image: Image.Image, facts: PictureFacts, path: Path) -> None:
    """Raise if data are missing, as far as the structure shows it; decoding costs ten times as much.

    PNG: every chunk is there and its checksum right. JPEG: the end is marked. WEBP: all chunks are there, else it could
    not be opened. Others: decoded, if they are not large.
    """
    if facts.format == "PNG":
        image.verify()
    elif facts.format in {"JPEG", "MPO"}:
        if not _has_end(path):
            image.load()  # what Pillow can read all the same is good enough
    elif facts.format != "WEBP" and facts.pixels <= DECODED_PIXELS:
        for frame in range(facts.frames if facts.is_animated else 1):
            image.seek(frame)
            image.load()


def _has_end(path: Path) -> bool:
    try:
        with mapped(path) as data:
            return sum(1 for _ in jpeg_segments(data)) > 0
    except FileRefused:
        return False
