"""``comfypod discord``: the bot until it is told to stop, and its commands."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from comfypod import logs
from comfypod.cli.printing import write_line
from comfypod.cli.services import READY_PREFIX
from comfypod.cli.stopping import stop_signal
from comfypod.discord.rules import Rules
from comfypod.errors import ConfigurationError
from comfypod.master.quotas import Quota
from comfypod.settings import Settings

try:
    from comfypod.discord.leases import LeaseTimes
    from comfypod.discord.process import BotOptions, Surroundings, logged_in, register_commands, serve
    from comfypod.discord.results import Results
    from comfypod.discord.templates import Templates
    from comfypod.discord.wishes import AttachmentRules
    from comfypod.master.engine import open_store
    from comfypod.schema.template import templates_folder
except ModuleNotFoundError as error:
    if (error.name or "").startswith("comfypod"):
        raise
    raise ConfigurationError(
        [f"The Discord bot needs {error.name}: pip install 'comfypod[discord,master]'."]
    ) from error

TOKEN_VARIABLE = "DISCORD_TOKEN"  # noqa: S105 (a variable's name)
_ADVICE = (
    f"{TOKEN_VARIABLE}: is missing; copy the bot's token from https://discord.com/developers/applications "
    "(your application, Bot, Reset Token) into the environment."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BotCommand:
    """What ``comfypod discord run`` is told: see its ``--help``; ``limits``: user at once, server at once, a day."""

    database: str
    guilds: tuple[int, ...]
    templates: Path | None
    limits: tuple[int, int | None, int | None]
    attachment_limit_bytes: int
    deny_list: Path | None
    check: str | None
    shard_ids: str | None
    shard_count: int | None
    lease_seconds: float
    discord_url: str | None


def run_bot(command: BotCommand) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ConfigurationError: a setting is missing, or makes no sense.
        StoreUnavailable, StoreOutdated: the database cannot be used.
        DiscordTokenRefused, DiscordRefused, DiscordUnavailable: Discord does not let it in.
    """
    settings = Settings.from_environment(os.environ)
    logs.configure(settings)
    options = _options(command, _token(os.environ))
    results = Results.from_settings(settings)
    templates = Templates.load(command.templates or templates_folder())
    rules = Rules.load(command.deny_list, command.check)
    store = open_store(command.database)
    try:
        asyncio.run(_serve(options, Surroundings(store, results, templates, rules)))
    finally:
        store.close()


def tell_commands(guilds: tuple[int, ...], templates: Path | None, discord_url: str | None) -> None:
    """Register the commands, and say which. Raises as `run_bot`."""
    logs.configure(Settings.from_environment(os.environ))
    options = BotOptions(_token(os.environ), guilds, discord_url=discord_url)
    for name in asyncio.run(_register(options, Templates.load(templates or templates_folder()))):
        write_line(f"/{name}")


async def _serve(options: BotOptions, given: Surroundings) -> None:
    await serve(options, given, stop_signal(), lambda name: write_line(f"{READY_PREFIX}{name}"))


async def _register(options: BotOptions, templates: Templates) -> list[str]:
    async with logged_in(options) as bot:
        return await register_commands(bot, templates, options.guilds)


def _options(command: BotCommand, token: str) -> BotOptions:
    user_at_once, at_once, per_day = command.limits
    hosts = AttachmentRules().hosts
    if command.discord_url is not None:
        hosts += (urlsplit(command.discord_url).netloc,)  # a double gives its attachments out itself
    return BotOptions(
        token,
        command.guilds,
        shard_ids=_shard_ids(command.shard_ids, command.shard_count),
        shard_count=command.shard_count,
        quota=Quota(at_once=at_once, per_day=per_day, user_at_once=user_at_once),
        attachments=AttachmentRules(command.attachment_limit_bytes, hosts),
        times=LeaseTimes(command.lease_seconds),
        discord_url=command.discord_url,
    )


def _shard_ids(text: str | None, count: int | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        found = tuple(int(item) for item in text.split(","))
    except ValueError as error:
        raise ConfigurationError([f"--shard-ids: {text!r} is no list of numbers such as 0,1."]) from error
    if count is None or any(not 0 <= item < count for item in found):
        raise ConfigurationError(["--shard-ids: needs --shard-count, which is more than each of them."])
    return found


def _token(environment: Mapping[str, str]) -> str:
    """The token; what is started from now on does not see it."""
    token = environment.get(TOKEN_VARIABLE, "").strip()
    os.environ.pop(TOKEN_VARIABLE, None)
    if not token:
        raise ConfigurationError([_ADVICE])
    if not token.isascii() or any(character.isspace() for character in token):
        raise ConfigurationError([f"{TOKEN_VARIABLE}: has characters that no token has; copy it once more."])
    return token
