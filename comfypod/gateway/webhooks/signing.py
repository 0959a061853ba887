"""Signatures of webhooks, as Standard Webhooks has them (https://www.standardwebhooks.com). Pure.

A receiver computes the same HMAC over ``ID.TIMESTAMP.BODY`` and compares; there are libraries for it in most languages.
"""

from __future__ import annotations

import base64
import hmac
from hashlib import sha256

SECRET_NAME = "webhooks"  # noqa: S105 (the name of one)
_PREFIX = "whsec_"


def tenant_secret(root: bytes, tenant: str) -> str:
    """What a tenant's webhooks are signed with, as receivers are given it.

    It is made of the store's own secret, so that none has to be kept for each tenant.
    """
    derived = hmac.new(root, f"tenant:{tenant}".encode(), sha256).digest()
    return _PREFIX + base64.b64encode(derived).decode()


def signature_headers(secret: str, message_id: str, timestamp_seconds: int, body: bytes) -> dict[str, str]:
    """The headers that go with a body; ``timestamp_seconds`` is of the try, so that an old one can be refused."""
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = b".".join((message_id.encode(), str(timestamp_seconds).encode(), body))
    signature = base64.b64encode(hmac.new(key, signed, sha256).digest()).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_seconds),
        "webhook-signature": f"v1,{signature}",
    }
