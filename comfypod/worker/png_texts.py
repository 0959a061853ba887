"""The workflow that ComfyUI keeps in its PNG files, as the caller sent it: without what the worker put into it.

Only text chunks change, the pixels are not touched: PNG specification (W3C, third edition), 5.3 and 11.3.3.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from mmap import mmap
from pathlib import Path

from comfypod.files.chunks import PNG_SIGNATURE, Part, mapped, png_chunks
from comfypod.files.content import FileContent, Patch
from comfypod.worker.isolation import MARK_INPUT

_MARK = re.compile(rb',? ?"' + MARK_INPUT.encode() + rb'": "[^"]*"')


def without_folder(path: Path, folder: str) -> FileContent:
    """The file, if it is a PNG with texts that do not name the job's ``folder``; nothing is written.

    Raises:
        FileRefused: it is broken.
    """
    with mapped(path) as data:
        if data[: len(PNG_SIGNATURE)] != PNG_SIGNATURE:
            return FileContent(path)
        return FileContent(path, tuple(_patches(data, folder.encode())))


def _patches(data: mmap, folder: bytes) -> Iterator[Patch]:
    for chunk in png_chunks(data):
        if chunk.kind == b"tEXt" and data.find(folder, chunk.content, chunk.content + chunk.length) >= 0:
            yield Patch(chunk.start, chunk.end, _rewritten(data, chunk, folder))


def _rewritten(data: mmap, chunk: Part, folder: bytes) -> bytes:
    text = _MARK.sub(b"", data[chunk.content : chunk.content + chunk.length])
    text = text.replace(folder + b"/", b"").replace(folder + b"-", b"")
    body = chunk.kind + text
    return struct.pack(">I", len(text)) + body + struct.pack(">I", zlib.crc32(body))
