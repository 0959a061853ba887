"""An upload received: written to disk as it comes, hashed on the way, never whole in memory."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from aiohttp import BodyPartReader, ClientConnectionError, web
from blake3 import blake3

from comfypod.errors import DeadlineExceeded, DiskFailed, HashMismatch, MalformedCall, PayloadTooLarge
from comfypod.gateway.bodies import check_encoding
from comfypod.gateway.options import Limits

BLOCK_BYTES = 1024**2
MOST_PARTS = 64
LONGEST_FIELD_BYTES = 4096
_FIELDS = frozenset({"content_type", "file_path", "expected_hash", "expires_in", "tags"})


@dataclass(slots=True)
class Received:
    """What came: a file on disk, and the fields around it; ``hash`` is ``blake3:HEX``."""

    path: Path
    size_bytes: int = 0
    hash: str = ""
    file_name: str | None = None
    part_type: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)

    @property
    def file_path(self) -> str:
        """What the program calls it."""
        return self.fields.get("file_path") or self.file_name or "upload.bin"

    @property
    def content_type(self) -> str:
        """What the program says it is."""
        return self.fields.get("content_type") or self.part_type or "application/octet-stream"


@asynccontextmanager
async def received_upload(request: web.Request, limits: Limits) -> AsyncIterator[Received]:
    """Receive a multipart upload; its file is there for as long as the body runs.

    Raises:
        MalformedCall: it is no such upload, has no file, or breaks off.
        PayloadTooLarge, DeadlineExceeded: it is larger, or comes more slowly, than the limits allow.
        HashMismatch: another file came than the program says it sent.
        DiskFailed: it cannot be written here.
    """
    check_encoding(request)
    if request.content_type != "multipart/form-data":
        raise MalformedCall("Send the file as multipart/form-data")
    if request.content_length is not None and request.content_length > limits.asset_bytes + BLOCK_BYTES:
        raise PayloadTooLarge("A file", limits.asset_bytes)
    with tempfile.TemporaryDirectory(prefix="comfypod-upload-") as folder:
        received = Received(Path(folder, "file"))
        await _receive(request, received, limits)
        _check(received)
        yield received


async def _receive(request: web.Request, received: Received, limits: Limits) -> None:
    try:
        async with asyncio.timeout(limits.upload_seconds):
            await _read_parts(request, received, limits.asset_bytes)
    except TimeoutError as error:
        raise DeadlineExceeded("the upload came too slowly", limits.upload_seconds) from error
    except (ClientConnectionError, ConnectionError, web.RequestPayloadError) as error:
        raise MalformedCall("The upload broke off") from error
    except OSError as error:
        raise DiskFailed("the upload", str(error.strerror)) from error
    except ValueError as error:  # aiohttp's word for a multipart body that is none
        raise MalformedCall("The body is not multipart/form-data") from error


async def _read_parts(request: web.Request, received: Received, limit_bytes: int) -> None:
    reader = await request.multipart()
    for _ in range(MOST_PARTS):
        part = await reader.next()
        if part is None:
            return
        if not isinstance(part, BodyPartReader):
            raise MalformedCall("A part of the upload is a multipart body of its own")
        if part.name == "file":
            await _read_file(part, received, limit_bytes)
        elif part.name in _FIELDS:
            await _read_field(part, received)
        else:
            raise MalformedCall(f"The upload has an unknown field: {(part.name or '')[:60]!r}")
    raise MalformedCall(f"The upload has more than {MOST_PARTS} parts")


async def _read_file(part: BodyPartReader, received: Received, limit_bytes: int) -> None:
    if received.hash:
        raise MalformedCall("The upload has two files; send each by itself")
    digest = blake3()
    with await asyncio.to_thread(received.path.open, "wb") as file:
        while block := await part.read_chunk(BLOCK_BYTES):
            received.size_bytes += len(block)
            if received.size_bytes > limit_bytes:
                raise PayloadTooLarge("A file", limit_bytes)
            await asyncio.to_thread(_write, file, digest, block)
    received.hash = f"blake3:{digest.hexdigest()}"
    received.file_name = part.filename
    received.part_type = part.headers.get("Content-Type")


def _write(file: BinaryIO, digest: blake3, block: bytes) -> None:
    file.write(block)
    digest.update(block)


async def _read_field(part: BodyPartReader, received: Received) -> None:
    value = bytearray()
    while block := await part.read_chunk(LONGEST_FIELD_BYTES):
        value += block
        if len(value) > LONGEST_FIELD_BYTES:
            raise MalformedCall(f"{part.name} may have at most {LONGEST_FIELD_BYTES:,} bytes")
    text = value.decode("utf-8", "replace")
    if part.name == "tags":
        received.tags.append(text)
    else:
        received.fields[str(part.name)] = text


def _check(received: Received) -> None:
    if not received.hash:
        raise MalformedCall("The upload has no file")
    expected = received.fields.get("expected_hash")
    if expected is not None and expected != received.hash:
        raise HashMismatch(expected, received.hash)
