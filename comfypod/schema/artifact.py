"""An artifact: one output file as the caller receives it."""

from __future__ import annotations

import mimetypes
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from comfypod.schema.wire import json_safe

# What Python's table does not know, or names after an operating system's registry.
_CONTENT_TYPES = {
    ".avif": "image/avif",
    ".flac": "audio/flac",
    ".glb": "model/gltf-binary",
    ".latent": "application/octet-stream",
    ".mkv": "video/x-matroska",
    ".opus": "audio/opus",
    ".safetensors": "application/octet-stream",
    ".webm": "video/webm",
    ".webp": "image/webp",
}


ArtifactType = Literal["base64", "s3_url", "path"]


def content_type_of(filename: str) -> str:
    """The content type that a file's name stands for."""
    suffix = PurePosixPath(filename).suffix.lower()
    return _CONTENT_TYPES.get(suffix) or mimetypes.types_map.get(suffix) or "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file: where it came from, what it is, and ``data``: its content as base64, or a pointer, as ``type`` says.

    ``index`` counts the files of a node from 0; ``size_bytes`` and ``sha256`` are those of the file itself;
    ``url_expires_at`` is a moment in UTC, as ISO 8601 writes it, where ``data`` is an address that expires;
    ``bucket_key`` is the file's place in the worker's bucket, of a job that is run once.
    """

    node_id: str
    node_title: str | None
    index: int
    filename: str
    subfolder: str
    type: ArtifactType
    data: str
    content_type: str
    size_bytes: int
    sha256: str
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None
    frames: int | None = None
    url_expires_at: str | None = None
    bucket_key: str | None = None

    @property
    def is_image(self) -> bool:
        """Whether it belongs under ``images`` of the job's output."""
        return self.content_type.startswith("image/")

    def to_json(self) -> dict[str, Any]:
        """The artifact as JSON; what is not known is left out."""
        safe = json_safe({**asdict(self), "data": ""})
        return {name: value for name, value in {**safe, "data": self.data}.items() if value is not None}
