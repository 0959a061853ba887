"""Which requests are refused whoever sends them. Pure.

- One that names a host this server is not known by: another site's name was made to lead here (DNS rebinding).
- One that another site's page makes the browser send.
- One that changes something and could come from a plain HTML form, which browsers send anywhere without asking. Scripts
  of other sites are asked first by the browser (a CORS preflight), and this server never answers those with consent.
- One that came through a proxy which the server was not told of, where nobody signs in: it may come from anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from comfypod.browsers import comes_from_elsewhere
from comfypod.errors import ForeignRequest, UnknownHost, UnsupportedContent
from comfypod.listening import is_loopback
from comfypod.web.site.options import SiteOptions, host_and_port

OWN_HEADER = "X-Comfypod"
"""A header, of any value, that no form can send; for requests without a body of a kind that none can send."""
_OF_FORMS = frozenset({"", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded"})
_CHANGING = frozenset({"POST", "PUT", "PATCH"})
_OF_PROXIES = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the guard looks at. ``path`` is below the base path, ``local_address`` the one the connection came to."""

    method: str
    path: str
    headers: Mapping[str, str]
    scheme: str
    local_address: str


class Guard:
    """Knows the server's names; ``port`` is the one it listens at."""

    def __init__(self, options: SiteOptions, port: int) -> None:
        self._has_token = options.token is not None
        self._own_name = host_and_port(options.host)[0]
        self._port = str(port)
        self._allowed_hosts = options.allowed_hosts
        self._allowed = frozenset(host_and_port(host) for host in options.allowed_hosts)

    def check(self, asked: Asked) -> None:
        """Let a request pass, or not.

        Raises:
            UnknownHost, ForeignRequest, UnsupportedContent: as the module says.
        """
        host = asked.headers.get("Host", "")
        if not self._is_known(host, asked):
            raise UnknownHost(host)
        if not self._has_token and any(name in asked.headers for name in _OF_PROXIES):
            cause = "This came through a proxy: start the server with --trust-proxy and a token, and --allow-host"
            raise ForeignRequest(cause)
        if comes_from_elsewhere(asked.method, asked.path, asked.headers, self._allowed_hosts):
            raise ForeignRequest
        if asked.method in _CHANGING and _could_be_a_form(asked.headers):
            raise UnsupportedContent(f"Send a Content-Type, such as application/json, or the header {OWN_HEADER}")

    def _is_known(self, host: str, asked: Asked) -> bool:
        name, port = host_and_port(host)
        if (name, port) in self._allowed or (name, "") in self._allowed:
            return True
        local = host_and_port(f"[{asked.local_address}]")[0]
        own_names = {local, self._own_name, *(("localhost",) if is_loopback(local) else ())}
        return bool(name) and name in own_names and (port or _DEFAULT_PORTS.get(asked.scheme)) == self._port


def _could_be_a_form(headers: Mapping[str, str]) -> bool:
    content_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return content_type in _OF_FORMS and OWN_HEADER not in headers
