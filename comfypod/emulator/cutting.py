"""Ends a connection as a network that fails does: without an answer, and so that the other side notices at once."""

from __future__ import annotations

import socket
import struct

from aiohttp import web


def reset_connection(request: web.Request) -> None:
    """End the connection of a request with RST, which its client sees as "connection reset by peer"."""
    transport = request.transport
    if transport is None:
        return  # The client was faster.
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
