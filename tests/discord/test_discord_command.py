"""``comfypod discord``: what it says when something is missing, and the commands that it registers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from comfypod.cli.discord import BotCommand, run_bot
from comfypod.errors import ConfigurationError
from tests.discord.bot_process import BotProcess, CommandProcess
from tests.discord.stage import Stage


@pytest.mark.parametrize(
    ("options", "environment", "sentence"),
    [
        ({}, {"DISCORD_TOKEN": ""}, "DISCORD_TOKEN: is missing; copy the bot's token from https://discord.com"),
        ({}, {"DISCORD_TOKEN": "a token"}, "DISCORD_TOKEN: has characters that no token has"),
        ({}, {}, "BUCKET_ENDPOINT_URL: is missing"),
        ({"shard_ids": "0,x", "shard_count": 2}, {}, "'0,x' is no list of numbers"),
        ({"shard_ids": "0,2", "shard_count": 2}, {}, "needs --shard-count, which is more than each"),
    ],
)
def test_what_is_missing_is_told(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], environment: dict[str, str], sentence: str
) -> None:
    for name, value in {"DISCORD_TOKEN": "fake-token", "BUCKET_ENDPOINT_URL": "", **environment}.items():
        monkeypatch.setenv(name, value)
    given: dict[str, Any] = {
        **dict.fromkeys(("templates", "deny_list", "check", "shard_ids", "shard_count", "discord_url")),
        "database": "sqlite:///missing",
        "guilds": (),
        "limits": (3, None, None),
        "lease_seconds": 20.0,
        "attachment_limit_bytes": 1,
    }
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        run_bot(BotCommand(**(given | options)))


async def test_a_database_without_tables_is_told(stage: Stage, tmp_path: Path) -> None:
    bot = await BotProcess(stage, f"sqlite:///{tmp_path / 'new.sqlite'}").start(waits=False)
    assert await bot.wait() == 1
    assert "comfypod master migrate" in bot.lines[-1]


async def test_commands_are_registered_for_a_server(stage: Stage) -> None:
    arguments = ("discord", "commands", "--guild", str(stage.discord.guild_id), "--templates", str(stage.templates))
    environment = {"DISCORD_TOKEN": stage.discord.token, "COMFYPOD_DISCORD_URL": stage.discord.url}
    command = await CommandProcess(arguments, environment).start(waits=False)
    assert await command.wait() == 0
    assert command.lines[-2:] == ["/serve", "/upscale"]
    path = f"/api/v10/applications/{stage.discord.application_id}/guilds/{stage.discord.guild_id}/commands"
    assert ("PUT", path) in stage.discord.requests
    assert [item["name"] for item in stage.discord.commands] == ["serve", "upscale"]
