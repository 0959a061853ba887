"""The address that RunPod calls when a job has ended, which nobody else can guess. Pure.

RunPod's webhooks are not signed. So the address itself proves where it comes from: it ends with an HMAC of the
request's key, made with a secret of the store (``Store.secret(SECRET_NAME)``). Even so nothing in the body is
believed: a call makes the master look earlier, that is all.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

SECRET_NAME = "runpod-webhook"  # noqa: S105 (the name of one)
PATH = "/hooks/runpod"


def webhook_token(secret: bytes, key: str) -> str:
    """The token of a request's address: 64 hex digits."""
    return hmac.new(secret, key.encode(), sha256).hexdigest()


def is_webhook_token(secret: bytes, key: str, token: str) -> bool:
    """Whether the token belongs to the key; compared in constant time."""
    return hmac.compare_digest(token.encode("utf-8", "surrogatepass"), webhook_token(secret, key).encode())


def webhook_url(base_url: str, secret: bytes, key: str) -> str:
    """The address that RunPod is told; ``base_url`` is that of the gateway, as RunPod reaches it."""
    return f"{base_url.rstrip('/')}{PATH}/{key}/{webhook_token(secret, key)}"
