"""``comfypod discord …``: the bot that makes pictures for a Discord server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comfypod.cli.commands.database import DATABASE, DatabaseOption

app = typer.Typer(
    no_args_is_help=True,
    help="The Discord bot: slash commands from templates, and one message for each request.",
)

_LIMITS, _RULES, _MANY = "Limits", "Content rules", "Several processes"
_WHENCE = "The bot's token comes from DISCORD_TOKEN"

_Guilds = Annotated[
    list[int] | None,
    typer.Option(
        "--guild",
        metavar="ID",
        show_default=False,
        help="Register the commands of this server alone, where they can be used at once; repeatable. "
        "Default: of all servers.",
    ),
]
_Templates = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        file_okay=False,
        exists=True,
        show_default=False,
        help="Each template there becomes a command; the workers must have them, too. Default: workflows/.",
    ),
]
_DiscordURL = Annotated[
    str | None, typer.Option(metavar="URL", envvar="COMFYPOD_DISCORD_URL", hidden=True, show_default=False)
]


@app.command(
    epilog="Examples:\n\n"
    "  DISCORD_TOKEN=… comfypod discord run --guild SERVER_ID\n\n"
    "  DISCORD_TOKEN=… comfypod discord run --database postgresql://… --shard-count 4 --shard-ids 0,1\n\n"
    f"{_WHENCE}; the bucket that the workers commit results to from BUCKET_ENDPOINT_URL, BUCKET_ACCESS_KEY_ID and "
    "BUCKET_SECRET_ACCESS_KEY."
)
def run(
    database: DatabaseOption = DATABASE,
    guild: _Guilds = None,
    templates: _Templates = None,
    user_at_once: Annotated[
        int, typer.Option(min=1, help="Requests of one person at once.", rich_help_panel=_LIMITS)
    ] = 3,
    server_at_once: Annotated[
        int | None,
        typer.Option(min=1, show_default=False, help="Requests of one server at once.", rich_help_panel=_LIMITS),
    ] = None,
    server_per_day: Annotated[
        int | None,
        typer.Option(
            min=1, show_default=False, help="Requests of one server within 24 hours.", rich_help_panel=_LIMITS
        ),
    ] = None,
    attachment_limit: Annotated[
        float,
        typer.Option(metavar="MEGABYTES", min=0.001, max=500, help="Largest attached file.", rich_help_panel=_LIMITS),
    ] = 20.0,
    deny_list: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="COMFYPOD_DENY_LIST",
            show_default=False,
            help="Words and phrases that are refused, one a line.",
            rich_help_panel=_RULES,
        ),
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            envvar="COMFYPOD_CONTENT_CHECK",
            show_default=False,
            help="Called with every text and its author; what it returns is why the text is refused, or None.",
            rich_help_panel=_RULES,
        ),
    ] = None,
    shard_ids: Annotated[
        str | None,
        typer.Option(
            metavar="N,N", show_default=False, help="The shards of this process; default: all.", rich_help_panel=_MANY
        ),
    ] = None,
    shard_count: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default=False,
            help="Shards of all processes together. Default: as Discord recommends.",
            rich_help_panel=_MANY,
        ),
    ] = None,
    lease_seconds: Annotated[
        float,
        typer.Option(
            min=2,
            max=300,
            help="What a dead process showed is its own for so long; then another takes it up.",
            rich_help_panel=_MANY,
        ),
    ] = 20.0,
    discord_url: _DiscordURL = None,
) -> None:
    """Run the bot until it is told to stop. Several may run on one database; each request is shown by one of them."""
    from comfypod.cli.discord import BotCommand, run_bot

    run_bot(
        BotCommand(
            database=database,
            guilds=tuple(guild or ()),
            templates=templates,
            limits=(user_at_once, server_at_once, server_per_day),
            attachment_limit_bytes=round(attachment_limit * 1_000_000),
            deny_list=deny_list,
            check=check,
            shard_ids=shard_ids,
            shard_count=shard_count,
            lease_seconds=lease_seconds,
            discord_url=discord_url,
        )
    )


@app.command(epilog=f"{_WHENCE}.")
def commands(guild: _Guilds = None, templates: _Templates = None, discord_url: _DiscordURL = None) -> None:
    """Tell Discord which commands there are, and end. `run` does so, too."""
    from comfypod.cli.discord import tell_commands

    tell_commands(tuple(guild or ()), templates, discord_url)
