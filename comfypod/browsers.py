"""What every server for browsers must judge: where a request comes from, and whether a secret is the right one. Pure.

Browsers send passwords and cookies along with requests that other sites' pages make. So every request is first asked
where it comes from, and only then who sends it.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_OTHER_SITES = frozenset({"cross-site", "same-site"})


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


def is_browser(headers: Mapping[str, str]) -> bool:
    """Whether a browser sent this; every one since 2023 tells with Fetch Metadata where a request comes from."""
    return "Sec-Fetch-Site" in headers or "Origin" in headers


def is_same_secret(given: str, expected: str) -> bool:
    """Compare in constant time; a header may hold bytes that are no text."""
    return hmac.compare_digest(given.encode(errors="surrogateescape"), expected.encode())


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
