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
from comfypod.worker.isolation import MARK_INPUT

_MARK = re.compile(rb',? ?"' + MARK_INPUT.encode() + rb'": "[^"]*"')


def without_folder(source: Path, target: Path, folder: str) -> bool:
    """Write a PNG to ``target`` whose texts do not name the job's ``folder``; False, and nothing written, if none does.

    Raises:
        FileRefused: it is broken.
    """
    name = folder.encode()
    with mapped(source) as data:
        if data[: len(PNG_SIGNATURE)] != PNG_SIGNATURE or data.find(name) < 0:
            return False
        with target.open("wb") as output:
            output.writelines(_pieces(data, name))
    return True


def _pieces(data: mmap, folder: bytes) -> Iterator[bytes]:
    yield PNG_SIGNATURE
    for chunk in png_chunks(data):
        yield _rewritten(data, chunk, folder) if chunk.kind == b"tEXt" else data[chunk.start : chunk.end]


def _rewritten(data: mmap, chunk: Part, folder: bytes) -> bytes:
    text = _MARK.sub(b"", data[chunk.content : chunk.content + chunk.length])
    text = text.replace(folder + b"/", b"").replace(folder + b"-", b"")
    body = chunk.kind + text
    return struct.pack(">I", len(text)) + body + struct.pack(">I", zlib.crc32(body))
