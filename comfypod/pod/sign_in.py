"""Who may use ComfyUI's page: the key as password, then a cookie, and no page of another site. Pure.

Browsers remember the password and send it with requests that other sites' pages make, as they do with cookies. So
every request is first asked where it comes from, and only then who sends it.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import b64decode
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

CHALLENGE = 'Basic realm="ComfyUI: any user name, the API key as password", charset="UTF-8"'
"""``WWW-Authenticate`` of a refusal: a browser then asks for a name and a password (RFC 7617)."""
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_OTHER_SITES = frozenset({"cross-site", "same-site"})


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
        return _is_same(cookies.get(self._name, ""), self._token)

    def has_password(self, authorization: str) -> bool:
        """Whether an ``Authorization`` header holds the password; the user name does not matter."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = b64decode(encoded.strip(), validate=True).decode()
        except ValueError:  # no base64, or no UTF-8
            return False
        return _is_same(given.partition(":")[2], self._password)

    def cookie(self, *, is_https: bool) -> str:
        """``Set-Cookie`` for a browser that gave the password: for this page alone, and out of scripts' reach."""
        return f"{self._name}={self._token}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if is_https else ''}"

    def others_cookies(self, header: str) -> str:
        """A ``Cookie`` header without ours, which is nobody else's business."""
        pairs = (pair.strip() for pair in header.split(";"))
        return "; ".join(pair for pair in pairs if pair and pair.partition("=")[0] != self._name)


def comes_from_elsewhere(method: str, path: str, headers: Mapping[str, str], own_hosts: Collection[str] = ()) -> bool:
    """Whether a page of another site makes the browser send this request.

    Such a page may lead to the front page, as a link does, and to nothing else. Its own host is what the request names
    (``Host``, or ``X-Forwarded-Host`` of a proxy in front: a page cannot set either), or one of ``own_hosts``. Whatever
    is no browser sends none of the headers that tell (Fetch Metadata, ``Sec-Fetch-Site``; RFC 6454, ``Origin``).
    """
    origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
    if origin is not None:
        hosts = {headers.get("Host", ""), headers.get("X-Forwarded-Host", ""), *own_hosts}
        return not _is_one_of(origin, hosts)
    is_visit = method == "GET" and path == "/" and headers.get("Sec-Fetch-Mode") == "navigate"
    return site in _OTHER_SITES and not is_visit


def _is_one_of(origin: str, hosts: Collection[str]) -> bool:
    """Whether an origin is that of a host; ``null``, as sandboxed frames have it, is no host's."""
    try:
        parts = urlsplit(origin)
    except ValueError:  # an unclosed bracket
        return False
    default_port = _DEFAULT_PORTS.get(parts.scheme)
    if default_port is None or not parts.netloc:
        return False
    own = parts.netloc.lower().removesuffix(default_port)
    return any(own == host.lower().removesuffix(default_port) for host in hosts if host)


def _is_same(given: str, expected: str) -> bool:
    """Compare in constant time; a header may hold bytes that are no text."""
    return hmac.compare_digest(given.encode(errors="surrogateescape"), expected.encode())
