"""Servers at an address of this machine: how one begins to listen, and under which URL a program here finds it."""

from __future__ import annotations

import ipaddress
from typing import Final

from aiohttp import web

from comfypod.errors import ConfigurationError

_EVERY_ADDRESS: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 (compared with, not listened at)


async def listen(runner: web.AppRunner, host: str, port: int, *, clause: str, options: str) -> int:
    """Begin to listen, and return the port; 0 means any free one. ``runner`` is cleaned up where that fails.

    Raises:
        ConfigurationError: the port is taken, or the address is not this machine's: ``CLAUSE at HOST:PORT (CAUSE); see
            OPTIONS.``
    """
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        problem = f"{clause} at {host}:{port} ({error.strerror or error}); see {options}."
        raise ConfigurationError([problem]) from error
    listening: int = runner.addresses[0][1]
    return listening


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def url_from_here(host: str, port: int) -> str:
    """``http://HOST:PORT`` of a server that listens at ``host``, as a program on this machine finds it."""
    if host in _EVERY_ADDRESS:
        host = "127.0.0.1" if host != "::" else "::1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
