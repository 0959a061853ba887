"""Names that are drawn: of requests, in the order of time, and API keys, of which only a hash is kept."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime

KEY = re.compile(r"[0-9a-f]{32}")
SECRET_PREFIX = "cp_"  # noqa: S105 (how every secret begins, so that leaked ones can be searched for)


def new_key(now: datetime) -> str:
    """A request's key: 12 hex digits of the milliseconds since 1970, and 20 that are random."""
    return f"{int(now.timestamp() * 1000):012x}{secrets.token_hex(10)}"


def is_key(text: str) -> bool:
    """Whether it could be a request's key."""
    return KEY.fullmatch(text) is not None


def new_secret() -> str:
    """An API key: shown once, and never stored."""
    return SECRET_PREFIX + secrets.token_urlsafe(32)


def identifier_of(secret: str) -> str:
    """How an API key is called where its secret may not be seen: the beginning of it."""
    return secret[:11]


def secret_hash(secret: str) -> str:
    """What is stored of an API key. It is random and long, so that a plain hash cannot be searched."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
