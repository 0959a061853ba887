"""Who may use ComfyUI's page: whoever has the key, as a password, and then a cookie. Pure.

Where a request comes from is judged before, in `comfypod.browsers`.
"""

from __future__ import annotations

import secrets
from base64 import b64decode
from collections.abc import Mapping

from comfypod.browsers import is_same_secret

CHALLENGE = 'Basic realm="ComfyUI: any user name, the API key as password", charset="UTF-8"'
"""``WWW-Authenticate`` of a refusal: a browser then asks for a name and a password (RFC 7617)."""


class SignIn:
    """Knows the password, and the cookie that stands for it until the pod ends.

    The cookie is there because browsers do not always send the password when a page opens a websocket.
    """

    def __init__(self, password: str, name: str) -> None:
        """``name`` is the cookie's: pods that are reached under one host name need different ones."""
        self._name = name
        self._token = secrets.token_urlsafe(32)
        self._password = password

    def has_cookie(self, cookies: Mapping[str, str]) -> bool:
        """Whether the request comes from a browser that has signed in."""
        return is_same_secret(cookies.get(self._name, ""), self._token)

    def has_password(self, authorization: str) -> bool:
        """Whether an ``Authorization`` header holds the password; the user name does not matter."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = b64decode(encoded.strip(), validate=True).decode()
        except ValueError:  # no base64, or no UTF-8
            return False
        return is_same_secret(given.partition(":")[2], self._password)

    def cookie(self, *, is_https: bool) -> str:
        """``Set-Cookie`` for a browser that gave the password: for this page alone, and out of scripts' reach."""
        return f"{self._name}={self._token}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if is_https else ''}"

    def others_cookies(self, header: str) -> str:
        """A ``Cookie`` header without ours, which is nobody else's business."""
        pairs = (pair.strip() for pair in header.split(";"))
        return "; ".join(pair for pair in pairs if pair and pair.partition("=")[0] != self._name)
