"""What else the store keeps: masters, tenants with their API keys, and assets. Pure; nothing here changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from comfypod.master.quotas import Quota


@dataclass(frozen=True, slots=True, kw_only=True)
class Master:
    """A process that runs requests.

    Args:
        name: stable; what it had is found by this when it comes back.
        instance: of this process only.
        beat_at: when it last said that it is alive.
        wish: what somebody wants it to do: "drain".
    """

    name: str
    instance: str
    version: str
    pid: int
    started_at: datetime
    beat_at: datetime
    wish: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Who is accounted; one without a row of its own has the default quota."""

    name: str
    quota: Quota
    webhook_url: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """An API key without its secret; ``identifier`` is how the secret begins."""

    identifier: str
    tenant: str
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file that a tenant uploaded; its bytes are in the bucket.

    Args:
        hash: "blake3:" and hex digits.
        bucket_key: where it lies; several assets of one tenant may share it.
        expires_at: from then on it is not found; None: never.
    """

    identifier: str
    tenant: str
    hash: str
    size_bytes: int
    content_type: str
    bucket_key: str
    created_at: datetime
    file_path: str | None = None
    expires_at: datetime | None = None
    tags: tuple[str, ...] = ()
