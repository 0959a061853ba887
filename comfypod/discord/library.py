"""What is set once for the whole of discord.py: where Discord is, and where the library logs to."""

from __future__ import annotations

import logging
import re

import discord
from discord.gateway import DiscordWebSocket
from discord.http import Route
from yarl import URL

from comfypod.logs import event

_SECRETS = re.compile(r"(/(?:webhooks|interactions)/\d+)/[\w-]+")
_LOGGER = logging.getLogger("discord")


def point_to(url: str) -> None:
    """Let the library talk to another Discord than the real one: a double in a test, or a proxy.

    ``url`` holds ``/api/v10`` and ``/gw``.
    """
    Route.BASE = f"{url.rstrip('/')}/api/v10"
    DiscordWebSocket.DEFAULT_GATEWAY = (
        URL(url.rstrip("/")).with_scheme("wss" if url.startswith("https") else "ws") / "gw"
    )


def use_our_log() -> None:
    """Have the library log through us. Its level is WARNING: below it, tokens of interactions are in what it says."""
    discord.VoiceClient.warn_nacl = False  # it would warn of a library that only sound needs
    if not any(isinstance(handler, _ToOurLog) for handler in _LOGGER.handlers):
        _LOGGER.handlers[:] = [_ToOurLog()]
        _LOGGER.propagate = False
    _LOGGER.setLevel(logging.WARNING)


class _ToOurLog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Log it, without the tokens of interactions that addresses hold."""
        cause = type(record.exc_info[1]).__name__ if record.exc_info and record.exc_info[1] else None
        said = _SECRETS.sub(r"\1/…", record.getMessage())
        event("discord_library", record.levelno, said=said, **({"cause": cause} if cause else {}))
