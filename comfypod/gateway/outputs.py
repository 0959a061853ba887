"""What a job made, as the Comfy API v2 names it: every file and every text is an output with an id. Pure.

An output's id is the job's and its place in it, ``KEY-INDEX``: nothing has to be stored to find it again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfypod.master.documents import Request
from comfypod.schema.artifact import content_type_of
from comfypod.schema.wire import as_list, as_object

_OUTPUT_ID = re.compile(r"([0-9a-f]{32})-(\d{1,6})")
_TEXT_TYPE = "text/plain; charset=utf-8"
_KINDS = frozenset({"image", "video", "audio", "text"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One output. Its bytes lie in the bucket under ``bucket_key``, or are ``text`` itself."""

    identifier: str
    node_id: str
    name: str
    content_type: str
    size_bytes: int
    sha256: str | None = None
    bucket_key: str | None = field(default=None, repr=False)
    text: bytes | None = field(default=None, repr=False)

    @property
    def kind(self) -> str:
        """Of the contract's kinds the one that it is; whatever has none of its own is a file."""
        if self.name.lower().endswith(".latent"):
            return "latent"
        family = self.content_type.partition("/")[0]
        return family if family in _KINDS else "file"


def outputs_of(request: Request) -> list[Output]:
    """All outputs of a request that succeeded, in the order of the job's own output; none of another."""
    output = request.output or {}
    found = [*_files(output), *_texts(output)]
    return [Output(identifier=f"{request.key}-{index}", **item) for index, item in enumerate(found)]


def parse_output_id(identifier: str) -> tuple[str, int] | None:
    """The request's key and the place in its outputs, if it is an output's id."""
    match = _OUTPUT_ID.fullmatch(identifier)
    return (match.group(1), int(match.group(2))) if match else None


def _files(output: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for artifact in (*as_list(output.get("images")), *as_list(output.get("files"))):
        told = as_object(artifact)
        name = str(told.get("filename", ""))
        yield {
            "node_id": str(told.get("node_id", "")),
            "name": name,
            "content_type": str(told.get("content_type") or content_type_of(name)),
            "size_bytes": int(told.get("size_bytes") or 0),
            "sha256": told.get("sha256"),
            "bucket_key": told.get("bucket_key"),
        }


def _texts(output: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for item in as_list(output.get("texts")):
        told = as_object(item)
        value = told.get("value")
        text = (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode("utf-8", "replace")
        yield {
            "node_id": str(told.get("node_id", "")),
            "name": f"{told.get('key', 'text')}.txt",
            "content_type": _TEXT_TYPE,
            "size_bytes": len(text),
            "text": text,
        }
