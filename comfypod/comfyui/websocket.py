"""ComfyUI's websocket: connect as its protocol wants it, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_connection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from comfypod.comfyui.protocol import FEATURE_FLAGS
from comfypod.errors import ComfyUIUnavailable, ComfyUIUnresponsive

__all__ = ["ClientConnection", "ConnectionClosed", "connect"]


@asynccontextmanager
async def connect(url: str, client_id: str, timeout_seconds: float = 30.0) -> AsyncIterator[ClientConnection]:
    """A socket for ``client_id`` at ComfyUI's HTTP address ``url``.

    Read it without pause: one slow reader holds up ComfyUI's messages to everybody. Keep one socket per client id: when
    the older of two closes, ComfyUI forgets the newer one.

    Raises:
        ComfyUIUnavailable: nobody takes connections there.
        ComfyUIUnresponsive: somebody does, and does not answer within ``timeout_seconds``.
    """
    parts = urlsplit(url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    address = f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}/ws?clientId={client_id}"
    try:
        # No compression: it costs ComfyUI's one Python thread 2.4 ms per preview. No size limit: a saved picture or a
        # long text in one frame passes 1 MiB. No limit of the queue: what arrives while an answer is awaited elsewhere
        # must not hold up ComfyUI. No pings: ComfyUI's loop may stall for many seconds while a model loads.
        connection = await open_connection(
            address,
            compression=None,
            max_size=None,
            max_queue=None,
            ping_interval=None,
            open_timeout=timeout_seconds,
            close_timeout=1,
            proxy=None,
            user_agent_header=None,
        )
    except TimeoutError as error:
        cause = f"no websocket at {parts.netloc} within {timeout_seconds:g} s"
        raise ComfyUIUnresponsive("connect", cause) from error
    except (OSError, InvalidHandshake, InvalidURI) as error:
        raise ComfyUIUnavailable("connect", f"no websocket at {parts.netloc} ({error})") from error
    async with connection:
        await connection.send(FEATURE_FLAGS)
        yield connection
