"""An asset as the Comfy API v2 shows it, and what a program may say of one. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from comfypod.errors import MalformedCall
from comfypod.gateway.job_documents import moment, output_document
from comfypod.gateway.links import Links
from comfypod.gateway.outputs import Output
from comfypod.master.documents import Request
from comfypod.master.records import Asset

SHORTEST_SECONDS, LONGEST_SECONDS = 60, 604_800
MOST_TAGS = 20
LONGEST_TEXT = 400
_HASH = re.compile(r"blake3:[0-9a-f]{64}")
_PLAIN_TENANT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CONTENT_TYPE = re.compile(r"[!-~]+/[!-~]+(; ?[!-~]+)*")


@dataclass(frozen=True, slots=True)
class AssetFile:
    """An asset as a job loads it: its proposed file name, and its address in the worker's bucket."""

    file_path: str
    address: str


@dataclass(frozen=True, slots=True)
class AssetWishes:
    """What a program says of its file; ``lifetime`` is how long it is kept."""

    file_path: str
    content_type: str
    tags: tuple[str, ...]
    lifetime: timedelta

    @classmethod
    def parse(
        cls, fields: Mapping[str, Any], tags: object, default: timedelta, content_type: str, file_path: str
    ) -> AssetWishes:
        """Check what is said.

        Raises:
            MalformedCall: a field is not as it should be.
        """
        if not file_path.isprintable() or not 0 < len(file_path) <= LONGEST_TEXT:
            raise MalformedCall(f"file_path must have 1 to {LONGEST_TEXT} printable characters")
        if len(content_type) > LONGEST_TEXT or not _CONTENT_TYPE.fullmatch(content_type):
            raise MalformedCall("content_type must be like image/png")
        return cls(file_path, content_type, _tags(tags), _lifetime(fields.get("expires_in"), default))


def asset_document(asset: Asset, links: Links, *, created_new: bool | None = None) -> dict[str, Any]:
    """An uploaded file."""
    new = {} if created_new is None else {"created_new": created_new}
    return {
        "id": asset.identifier,
        "hash": asset.hash,
        "size_bytes": asset.size_bytes,
        "content_type": asset.content_type,
        "file_path": asset.file_path,
        "tags": list(asset.tags),
        "created_at": moment(asset.created_at),
        "expires_at": moment(asset.expires_at),
        "url": links.content(asset.identifier),
        "url_expires_at": moment(asset.expires_at or links.expiry(asset.created_at)),
        **new,
    }


def output_asset_document(output: Output, request: Request, links: Links) -> dict[str, Any]:
    """A file that a job made."""
    created_at = request.ended_at or request.created_at
    told = output_document(output, request, links)
    shared = ("id", "hash", "sha256", "size_bytes", "content_type", "url", "url_expires_at", "job_id")
    return {
        **{name: told[name] for name in shared},
        "file_path": output.name,
        "created_at": moment(created_at),
        "expires_at": moment(links.expiry(request.created_at)),
    }


def is_hash(text: object) -> bool:
    """Whether it is ``blake3:`` and 64 hexadecimal digits."""
    return isinstance(text, str) and _HASH.fullmatch(text) is not None


def bucket_key_of(tenant: str, content_hash: str) -> str:
    """Where a tenant's file lies; a name that is no plain folder's is hashed."""
    folder = tenant if _PLAIN_TENANT.fullmatch(tenant) else f"~{sha256(tenant.encode()).hexdigest()[:32]}"
    return f"assets/{folder}/{content_hash.removeprefix('blake3:')}"


def expiry_of(wishes: AssetWishes, now: datetime) -> datetime:
    """Until when the file is kept."""
    return now + wishes.lifetime


def _tags(tags: object) -> tuple[str, ...]:
    if tags is None:
        return ()
    texts = tags if isinstance(tags, list) else [None]
    if len(texts) > MOST_TAGS or not all(isinstance(item, str) and len(item) <= LONGEST_TEXT for item in texts):
        raise MalformedCall(f"tags must be at most {MOST_TAGS} texts of at most {LONGEST_TEXT} characters")
    return tuple(texts)


def _lifetime(value: object, default: timedelta) -> timedelta:
    if value is None:
        return default
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or len(text) > 9:
        raise MalformedCall("expires_in must be a number of seconds")
    if not SHORTEST_SECONDS <= int(text) <= LONGEST_SECONDS:
        raise MalformedCall(f"expires_in must be {SHORTEST_SECONDS} to {LONGEST_SECONDS} seconds")
    return timedelta(seconds=int(text))
