"""What the page's server is told: where it listens, who may use it, and how much of it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from comfypod.errors import ConfigurationError
from comfypod.listening import is_loopback

TOKEN_VARIABLE = "COMFYPOD_WEB_TOKEN"  # noqa: S105 (a variable's name)
SHORTEST_TOKEN = 16
_TOKEN = re.compile(rf"[!-~]{{{SHORTEST_TOKEN},1000}}")
"""What a header can carry."""
_BASE_PATH = re.compile(r"/(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*/)*")
_HOST = re.compile(r"(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
_TOKEN_ADVICE = (
    f"set {TOKEN_VARIABLE} to at least {SHORTEST_TOKEN} characters, for example what openssl rand -hex 16 prints"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one visitor may do. An address may do `ADDRESS_FACTOR` times as much: several people may share it.

    Questions are forms for which the endpoint is asked.
    Whoever sends or takes nothing for ``silence_seconds`` is cut off. An event stream says something every
    ``comment_seconds``: proxies close what is silent for long, and a browser that vanished is noticed by it.
    """

    runs_at_once: int = 4
    runs_a_minute: int = 30
    forms_a_minute: int = 60
    questions_a_minute: int = 20
    uploads_a_minute: int = 60
    upload_bytes: int = 7_000_000
    """A job has 10 MB on RunPod, and a file in it grows by a third."""
    streams_at_once: int = 16
    wrong_tokens_a_minute: int = 10
    silence_seconds: float = 20.0
    comment_seconds: float = 15.0


ADDRESS_FACTOR = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteOptions:
    """Where the page is, and who may use it. ``base_path`` begins and ends with a slash.

    ``allowed_hosts`` are names, with or without a port, by which browsers know the server besides the address it
    listens at. ``trusts_proxy``: what a proxy says of who asks, and how, is believed.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    base_path: str = "/"
    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    trusts_proxy: bool = False
    limits: Limits = field(default_factory=Limits)

    def check(self) -> None:
        """Refuse what makes no sense, or would let strangers in.

        Raises:
            ConfigurationError: every problem at once; never the token itself.
        """
        if problems := [*self._problems()]:
            raise ConfigurationError(problems)

    def _problems(self) -> Iterator[str]:
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            yield f"The token is too short, or no plain text: {_TOKEN_ADVICE}."
        if self.token is None and (cause := self._exposure()):
            yield f"{cause} needs a token: {_TOKEN_ADVICE}."
        if not _BASE_PATH.fullmatch(self.base_path):
            yield f"The base path {self.base_path[:100]!r} is none; it is like / or /comfypod/."
        for name in self.allowed_hosts:
            if not _HOST.fullmatch(name.lower()):
                yield f"--allow-host {name[:100]!r} is no host's name; it is like pictures.example or 10.0.0.5:8080."

    def _exposure(self) -> str | None:
        """What lets others than this machine in."""
        if not is_loopback(self.host):
            return f"Listening at {self.host}"
        if self.trusts_proxy:
            return "A proxy in front (--trust-proxy)"
        others = [name for name in self.allowed_hosts if not is_loopback(host_and_port(name)[0])]
        return f"Being reached as {others[0]} (--allow-host)" if others else None


def as_base_path(text: str) -> str:
    """``comfypod``, ``/comfypod`` and ``/comfypod/`` all mean the last."""
    return f"/{text.strip('/')}/" if text.strip("/") else "/"


def host_and_port(host: str) -> tuple[str, str]:
    """The parts of ``Host``, the name in lower case and without brackets; the port is empty where there is none."""
    if host.count(":") > 1 and "[" not in host:
        return _plain_address(host), ""
    name, bracket, rest = host.lower().rpartition("]")
    if bracket:
        return _plain_address(name.removeprefix("[")), rest.removeprefix(":")
    name, _, port = host.lower().partition(":")
    return _plain_address(name), port


def _plain_address(name: str) -> str:
    """An address in its one usual form; another name as it is."""
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return name
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
