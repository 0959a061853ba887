"""Metadata of pictures from one format to another; above all ComfyUI's ``prompt`` and ``workflow``.

ComfyUI writes them as text chunks into PNG, and into WEBP as EXIF texts "prompt:{…}" in the tag Model (0x0110) and
"workflow:{…}" and others from Make (0x010F) downwards (comfy_api/latest/_ui.py, _create_webp_metadata). Its pages read
them back from there, and JPEG can hold the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from PIL import Image, PngImagePlugin, TiffTags

JPEG_SEGMENT_BYTES = 65_533
"""What one segment of a JPEG holds; EXIF and XMP must fit into one each (JpegImagePlugin.py, MAX_BYTES_IN_MARKER)."""

_MODEL, _MAKE, _LOWEST = 0x0110, 0x010F, 0x0100
_XMP_KEYWORD = "XML:com.adobe.xmp"
_KEYED_JSON = re.compile(r"([A-Za-z_][\w .-]{0,78}):\s*[{\[]")


def carried_metadata(image: Image.Image, format_: Literal["png", "jpeg", "webp"]) -> tuple[dict[str, Any], list[str]]:
    """Pillow's options to save the picture's metadata in another format, and sentences about what has no place there.

    Texts, EXIF and XMP are carried. The picture must have been loaded, for some texts stand behind the pixels.
    """
    if image.format == "TIFF":
        return {}, ["The metadata of a TIFF picture were left out: most of them describe the file itself."]
    texts = dict(image.text) if isinstance(image, PngImagePlugin.PngImageFile) else {}
    xmp = texts.pop(_XMP_KEYWORD, None) or image.info.get("xmp")
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    exif = image.getexif()
    if format_ == "png":
        return _for_png(exif, xmp)
    warnings = list(_add_texts(exif, texts))
    options: dict[str, Any] = {"xmp": xmp} if xmp else {}
    if format_ == "jpeg":
        if xmp and len(xmp) > JPEG_SEGMENT_BYTES - 29:  # 29: the identifier that precedes it
            del options["xmp"]
            warnings.append(_left_out("XMP", len(xmp)))
        warnings.extend(_fit_segment(exif))
    if len(exif):
        options["exif"] = exif.tobytes()
    return options, warnings


def _for_png(exif: Image.Exif, xmp: bytes | None) -> tuple[dict[str, Any], list[str]]:
    chunks = PngImagePlugin.PngInfo()
    for tag, key, value in _keyed_texts(exif):
        del exif[tag]
        chunks.add_text(key, value)
    if xmp:
        chunks.add_itxt(_XMP_KEYWORD, xmp.decode("utf-8", "replace"))
    return {"pnginfo": chunks, **({"exif": exif.tobytes()} if len(exif) else {})}, []


def _keyed_texts(exif: Image.Exif) -> list[tuple[int, str, str]]:
    """The EXIF texts that are ComfyUI's: tag, key and value, ``prompt`` first."""
    found = []
    for tag in range(_MODEL, _LOWEST - 1, -1):
        value = exif.get(tag)
        if isinstance(value, str) and (match := _KEYED_JSON.match(value)):
            found.append((tag, match[1], value[match.end(1) + 1 :]))
    return found


def _add_texts(exif: Image.Exif, texts: Mapping[str, str]) -> Iterator[str]:
    """Put the texts into EXIF; yield a sentence for each that cannot be."""
    tags = (tag for tag in range(_MAKE, _LOWEST - 1, -1) if tag not in exif and _holds_text(tag))
    for key, value in sorted(texts.items(), key=lambda item: item[0] != "prompt"):  # the others keep their order
        ascii_value = _ascii(value)
        tag = _MODEL if key == "prompt" and _MODEL not in exif else next(tags, None)
        if tag is None or ascii_value is None or not key.isascii():
            yield f"The text {key[:80]!r} was left out: EXIF has no place for it."
        else:
            exif[tag] = f"{key}:{ascii_value}"


def _holds_text(tag: int) -> bool:
    """Whether Pillow writes a text into this tag as a text: it does where it knows the tag as one, or not at all."""
    return TiffTags.lookup(tag).type in {None, TiffTags.ASCII}


def _ascii(value: str) -> str | None:
    """The text in ASCII, all that EXIF allows; JSON can be written so, another text cannot."""
    if value.isascii():
        return value
    if not value.lstrip().startswith(("{", "[", '"')):
        return None
    return re.sub(r"[^\x00-\x7f]", lambda match: json.dumps(match[0])[1:-1], value)


def _fit_segment(exif: Image.Exif) -> Iterator[str]:
    """Drop texts, the longest first, until all fits into a JPEG; yield a sentence for each."""
    while len(exif) and len(exif.tobytes()) > JPEG_SEGMENT_BYTES:
        texts = {tag: value for tag, value in exif.items() if isinstance(value, str)}
        if not texts:
            yield _left_out("EXIF", len(exif.tobytes()))
            exif.clear()
            return
        longest = max(texts, key=lambda tag: len(texts[tag]))
        name = texts[longest].partition(":")[0] if _KEYED_JSON.match(texts[longest]) else f"EXIF {longest:#06x}"
        yield _left_out(name, len(texts[longest]))
        del exif[longest]


def _left_out(name: str, size_bytes: int) -> str:
    return (
        f"{name!r} ({size_bytes:,} bytes) was left out: a JPEG holds at most {JPEG_SEGMENT_BYTES:,} bytes of such data."
    )
