"""Output pictures in another format, and output files without their metadata."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from PIL import Image, ImageOps

from comfypod.files.facts import look_at_picture
from comfypod.files.isolation import FileRefused, run_isolated
from comfypod.files.pictures import opened
from comfypod.files.stripping import is_strippable, strip_picture
from comfypod.files.tensors import TENSOR_SUFFIXES, strip_tensors
from comfypod.files.texts import carried_metadata

PictureFormat = Literal["png", "jpeg", "webp"]

DEFAULT_QUALITY = 90
MAXIMUM_CONVERTED_PIXELS = 16_384 * 16_384
"""About 1 GB while it is converted."""

_CONVERTIBLE = frozenset({"PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "AVIF"})
_LONGEST_SIDE = {"webp": 16_383, "jpeg": 65_500, "png": 2**31 - 1}  # libwebp's and libjpeg's limits, and PNG's

_REMUX_SECONDS = 120.0
_MUXERS = {
    ".flac": "flac",
    ".m4a": "ipod",
    ".mkv": "matroska",
    ".mov": "mov",
    ".mp3": "mp3",
    ".mp4": "mp4",
    ".ogg": "ogg",
    ".opus": "opus",
    ".wav": "wav",
    ".webm": "webm",
}
"""libav's names of the formats that it can write without changing what is in them."""


def convert_image(
    source: Path,
    target: Path,
    format: PictureFormat,  # noqa: A002 (the word of the job's input)
    quality: int | None,
    keep_metadata: bool,
) -> list[str]:
    """Write a still picture to ``target`` in another format; an animation is refused.

    A picture that has the format already is copied, unless a ``quality`` is asked of it. For JPEG, transparency is laid
    on white: that is how a page shows it, while ComfyUI's own ``/view?preview=jpeg`` uncovers what is beneath. Grey
    values of 16 bits are rounded to 8, except in PNG. A colour profile stays where it still fits. Without metadata the
    picture is turned upright; with them, EXIF says how to turn it, as before.

    Args:
        source: The picture.
        target: The file to write; it is removed if that fails.
        format: The format.
        quality: 1 to 100, for JPEG and WEBP (which is lossy at 100, too); PNG ignores it.
        keep_metadata: Whether ComfyUI's workflow and all else that is known of the picture goes along.

    Returns:
        Sentences about metadata that have no place in the format.

    Raises:
        FileRefused: it is no picture, a broken one, an animation, or too large for the format.
        OSError: ``target`` cannot be written.
    """
    _check_convertible(source, format)
    with opened(source) as image:
        unchanged = image.format == format.upper() and (quality is None or format == "png")
        picture, options, warnings = (image, {}, []) if unchanged else _prepare(image, format, keep_metadata)
    with _removed_on_failure(target):
        if not unchanged:
            quality_option = {} if format == "png" else {"quality": quality or DEFAULT_QUALITY}
            picture.save(target, format=format, **options, **quality_option)
        elif keep_metadata:
            shutil.copyfile(source, target)
        else:
            strip_picture(source, target)
    return warnings


def strip_metadata(source: Path, target: Path) -> bool:
    """Write an output file without its metadata to ``target``; pixels, samples and tensors stay bit for bit the same.

    PNG, JPEG, WEBP, safetensors and latents are copied but for some parts; video and sound are copied stream by stream.

    Returns:
        False: this kind of file, or this broken one, cannot be stripped; nothing was written.

    Raises:
        OSError: ``source`` cannot be read, or ``target`` not be written.
    """
    try:
        with _removed_on_failure(target):
            _strip(source, target)
    except FileRefused:
        return False
    return True


def _strip(source: Path, target: Path) -> None:
    suffix = source.suffix.lower()
    with source.open("rb") as file:
        head = file.read(12)
    if is_strippable(head):
        strip_picture(source, target)
    elif suffix in TENSOR_SUFFIXES:
        strip_tensors(source, target)
    elif suffix in _MUXERS:
        paths = str(source.absolute()), str(target.absolute())
        run_isolated("remux", *paths, _MUXERS[suffix], timeout_seconds=_REMUX_SECONDS)
    else:
        raise FileRefused("is of a kind that cannot be stripped")


@contextmanager
def _removed_on_failure(target: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _check_convertible(source: Path, wanted: PictureFormat) -> None:
    facts = look_at_picture(source)
    if facts.format not in _CONVERTIBLE:
        raise FileRefused(f"is a {facts.format} picture, which is not converted")
    if facts.is_animated:
        raise FileRefused("is an animation")
    if facts.width * facts.height > MAXIMUM_CONVERTED_PIXELS:
        raise FileRefused(f"is larger than {MAXIMUM_CONVERTED_PIXELS:,} pixels")
    if max(facts.width, facts.height) > _LONGEST_SIDE[wanted]:
        raise FileRefused(f"has a side longer than {_LONGEST_SIDE[wanted]:,} pixels, the most that {wanted} allows")


def _prepare(
    image: Image.Image, wanted: PictureFormat, keep_metadata: bool
) -> tuple[Image.Image, dict[str, Any], list[str]]:
    """The picture in a mode that the format has, Pillow's options for saving it, and warnings."""
    image.load()
    options, warnings = carried_metadata(image, wanted) if keep_metadata else ({}, [])
    if not keep_metadata:
        ImageOps.exif_transpose(image, in_place=True)
    picture = _in_mode_for(wanted, image)
    profile = image.info.get("icc_profile")
    if profile and _is_grey(image) == _is_grey(picture) and image.mode != "CMYK":
        options["icc_profile"] = profile
    # Of what else was read, Pillow would write some (a comment, a profile that no longer fits).
    picture.info = {name: value for name, value in picture.info.items() if name == "transparency"}
    if wanted == "png":
        options["compress_level"] = 4  # as ComfyUI's own
    return picture, options, warnings


def _in_mode_for(wanted: PictureFormat, image: Image.Image) -> Image.Image:
    if wanted == "png" and image.mode in {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}:
        return image
    if image.mode.startswith("I"):  # 16 bits, as I;16, I;16B or, in 32, as I
        image = image.convert("I;16") if wanted == "png" else _eight_bits(image)
        return image if wanted != "webp" else image.convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return image if wanted != "jpeg" else _on_white(image)
    if wanted == "webp" or not _is_grey(image):
        return image.convert("RGB")
    return image.convert("L")


def _is_grey(image: Image.Image) -> bool:
    return image.mode in {"1", "L", "LA", "F"} or image.mode.startswith("I")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits as 8, rounded; `convert` alone would cut everything off at 255."""
    return image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")


def _on_white(image: Image.Image) -> Image.Image:
    background = Image.new("RGBA", image.size, "white")
    background.alpha_composite(image)
    return background.convert("RGB")
