"""The bot: discord.py's client, which brings interactions here, and what works beside it."""

from __future__ import annotations

import logging
from typing import Any

import discord

from comfypod.discord.asking import Asking
from comfypod.discord.tasks import Tasks
from comfypod.logs import event, log

RATE_LIMIT_SECONDS = 60.0
"""Longer than this the library does not wait for Discord's patience; what was to be said is said later."""
STOP_SECONDS = 5.0


class Bot(discord.AutoShardedClient):
    """It listens, for all shards or those that it is told; it reads no messages, and needs no privileged intents."""

    def __init__(self, shard_ids: tuple[int, ...] = (), shard_count: int | None = None) -> None:
        super().__init__(
            intents=discord.Intents(guilds=True),
            shard_count=shard_count,
            max_ratelimit_timeout=RATE_LIMIT_SECONDS,
            chunk_guilds_at_startup=False,
        )
        if shard_ids:
            self.shard_ids = list(shard_ids)
        self.asking: Asking | None = None
        self._answers = Tasks()

    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        """Called by the library for every command and every click, none waits for another."""
        if self.asking is not None:
            self._answers.start(str(interaction.id), self.asking.answer(interaction))

    async def stop_answering(self) -> None:
        """Answer nothing more, and finish what is being answered: other processes take what comes from now on."""
        self.asking = None
        await self._answers.stop(STOP_SECONDS)

    async def on_error(self, event_method: str, /, *_: object, **__: object) -> None:
        """Called by the library where one of the methods above failed: a bug, which ends nothing else."""
        log.exception("discord_handler_failed", extra={"fields": {"handler": event_method}})

    async def on_shard_ready(self, shard_id: int) -> None:
        """Called by the library."""
        event("discord_shard_ready", shard=shard_id)

    async def on_shard_resumed(self, shard_id: int) -> None:
        """Called by the library: the connection broke, and nothing that happened meanwhile was lost."""
        event("discord_shard_resumed", shard=shard_id)

    async def on_shard_disconnect(self, shard_id: int) -> None:
        """Called by the library."""
        event("discord_shard_disconnected", logging.WARNING, shard=shard_id)
