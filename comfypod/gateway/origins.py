"""By which address a program knows the gateway."""

from __future__ import annotations

import re

from aiohttp import web

from comfypod.errors import MalformedCall
from comfypod.gateway.links import Links
from comfypod.gateway.options import GatewayOptions

_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")


class Origins:
    """The address of the options, or the one that each request names."""

    def __init__(self, options: GatewayOptions) -> None:
        self._public_url = options.public_url

    def of(self, request: web.Request) -> str:
        """Scheme, host and port; without a slash at the end.

        Raises:
            MalformedCall: the request names no host that could be one.
        """
        if self._public_url is not None:
            return self._public_url.rstrip("/")
        if not _HOST.fullmatch(request.host):
            raise MalformedCall("Host must be a host's name or address, with or without a port")
        return f"{request.scheme}://{request.host}"

    def links(self, request: web.Request) -> Links:
        """The addresses in the answer to a request."""
        return self.at(self.of(request))

    def at(self, origin: str) -> Links:
        """The addresses in a message to somebody who once named this one."""
        return Links(self._public_url.rstrip("/") if self._public_url else origin)
