"""One process of the bot, from its start to its stop."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import discord

from comfypod.discord.asking import Asking
from comfypod.discord.bot import Bot
from comfypod.discord.delivery import Delivery
from comfypod.discord.endings import Endings
from comfypod.discord.leases import LeaseTimes
from comfypod.discord.library import point_to, use_our_log
from comfypod.discord.replies import Replies, explained
from comfypod.discord.results import Results
from comfypod.discord.rules import Rules
from comfypod.discord.showing import Showing
from comfypod.discord.templates import Templates
from comfypod.discord.wishes import AttachmentRules, Wishes
from comfypod.errors import DiscordRefused, DiscordTokenRefused
from comfypod.logs import event
from comfypod.master.quotas import Quota
from comfypod.master.store import Store

START_SECONDS = 60.0
CLOSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class BotOptions:
    """How the bot is run.

    Args:
        token: the bot's own.
        guilds: the servers whose commands are registered, at once and for them alone; none: for all servers.
        shard_ids: which shards this process has; none: all.
        shard_count: how many there are of all processes together; None: as many as Discord recommends.
        quota: what a server, and each of its people, may ask for.
        discord_url: another Discord than the real one.
    """

    token: str = field(repr=False)
    guilds: tuple[int, ...] = ()
    shard_ids: tuple[int, ...] = ()
    shard_count: int | None = None
    quota: Quota = field(default_factory=lambda: Quota(user_at_once=3))
    attachments: AttachmentRules = field(default_factory=AttachmentRules)
    times: LeaseTimes = field(default_factory=LeaseTimes)
    discord_url: str | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the bot works with."""

    store: Store
    results: Results
    templates: Templates
    rules: Rules


async def serve(options: BotOptions, given: Surroundings, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Run the bot until ``stop`` is set; ``ready`` is called with its name when it is logged in.

    Raises:
        DiscordTokenRefused, DiscordRefused, DiscordUnavailable: Discord does not let it in, or cannot be reached.
    """
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    async with logged_in(options) as bot:
        await register_commands(bot, given.templates, options.guilds)
        replies = Replies(bot)
        endings = Endings(given.store, replies, given.results, given.templates)
        showing = Showing(given.store, replies, endings, owner, options.times)
        delivery = Delivery(given.store, endings, owner, options.times)
        wishes = Wishes(given.store, given.templates, given.results, options.attachments)
        bot.asking = Asking(given.store, wishes, given.rules, showing, options.quota)
        loops = [asyncio.create_task(work) for work in (showing.run(), delivery.run())]
        ends = [asyncio.create_task(work) for work in (_listen(bot), _set(stop))]
        try:
            ready(str(bot.user))
            await _first_of([*loops, *ends])
        finally:
            await bot.stop_answering()
            for task in loops:
                task.cancel()
            await asyncio.gather(showing.stop(), delivery.stop())
            for task in ends:
                task.cancel()
            await asyncio.wait([*loops, *ends], timeout=CLOSE_SECONDS)


@asynccontextmanager
async def logged_in(options: BotOptions) -> AsyncIterator[Bot]:
    """The bot, known to Discord, and not yet listening. Raises as `serve`."""
    use_our_log()
    if options.discord_url is not None:
        point_to(options.discord_url)
    bot = Bot(options.shard_ids, options.shard_count)
    try:
        try:
            async with explained(START_SECONDS):
                await bot.login(options.token)
        except discord.LoginFailure as error:
            raise DiscordTokenRefused from error
        yield bot
    finally:
        async with asyncio.timeout(CLOSE_SECONDS):
            await bot.close()


async def register_commands(bot: Bot, templates: Templates, guilds: tuple[int, ...]) -> list[str]:
    """Tell Discord which commands there are, in place of all that it knew; return their names. Raises as `serve`."""
    documents: list[Any] = templates.commands()
    application_id = bot.application_id
    if application_id is None:
        raise DiscordRefused("it does not say which application the token is of")
    async with explained(START_SECONDS):
        if not guilds:
            await bot.http.bulk_upsert_global_commands(application_id, documents)
        for guild in guilds:
            await bot.http.bulk_upsert_guild_commands(application_id, guild, documents)
    names = [str(document["name"]) for document in documents]
    event("discord_commands_registered", commands=",".join(names), guilds=",".join(map(str, guilds)) or "all")
    return names


async def _listen(bot: Bot) -> None:
    """Listen for ever: the library connects again by itself, unless Discord says that there is no use in it."""
    try:
        await bot.connect(reconnect=True)
    except discord.ConnectionClosed as error:
        if error.code == 4004:
            raise DiscordTokenRefused from error
        raise DiscordRefused(f"it closes the gateway with code {error.code}; see its shards and intents") from error


async def _set(stop: asyncio.Event) -> None:
    await stop.wait()


async def _first_of(tasks: list[asyncio.Task[None]]) -> None:
    """Wait until one of them has ended, and raise what it raised."""
    ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in ended:
        task.result()
