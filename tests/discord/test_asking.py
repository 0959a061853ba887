"""What people may ask for, and what they are told when they may not."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfypod.discord.rules import DenyList, Rules
from comfypod.logs import log
from comfypod.master.quotas import Quota
from tests.discord.fake_documents import MANAGE_MESSAGES, Interaction, Message
from tests.discord.stage import Stage, png, until


class Collected(logging.Handler):
    """What was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def logged() -> Iterator[Collected]:
    collected, level = Collected(), log.level
    log.addHandler(collected)
    log.setLevel(logging.DEBUG)
    yield collected
    log.removeHandler(collected)
    log.setLevel(level)


async def refusal(stage: Stage, interaction: Interaction) -> str:
    """What whoever asked is told, and nobody else sees."""
    message = await stage.message_of(interaction)
    assert message.is_ephemeral
    return message.content


async def ended(stage: Stage, *contents: bytes, **options: object) -> tuple[str, Message]:
    request, message = await stage.serve(**options)  # type: ignore[arg-type]
    stage.master.run(request.key)
    stage.master.succeed(request.key, *contents or (png(),), seeds={"seed": 42})
    await until(lambda: stage.told(request.key), "the end was told")
    return request.key, message


async def test_what_the_rules_refuse_never_gets_into_the_store(stage: Stage, logged: Collected) -> None:
    stage.rules = Rules(DenyList.parse("naked # in whatever way it is written"))
    async with stage.bot():
        interaction = await stage.discord.slash("serve", prompt="a n4ked secret")
        assert "Please ask for something else" in await refusal(stage, interaction)
        allowed, _ = await stage.serve(prompt="a fox", negative_prompt="naked")
    assert [item.key for item in stage.requests()] == [allowed.key]
    [line] = [item for item in logged.records if item.getMessage() == "discord_request_refused"]
    assert line.fields["rule"] == "deny list, line 1"  # type: ignore[attr-defined]
    assert "secret" not in str([vars(item) for item in logged.records])


async def test_a_person_has_a_limit_and_others_are_not_concerned(stage: Stage) -> None:
    stage.quota = Quota(user_at_once=2)
    async with stage.bot():
        await stage.serve(user_id=1)
        request, _ = await stage.serve(user_id=1)
        third = await stage.discord.slash("serve", 1, prompt="a fox")
        assert "2 requests of one user at once" in (told := await refusal(stage, third))
        assert "come back in 5 seconds" in told
        await stage.serve(user_id=2)
        stage.store.cancel(request.key)
        await stage.serve(user_id=1)
    assert len(stage.requests()) == 4


async def test_a_value_that_does_not_fit_is_explained(stage: Stage) -> None:
    async with stage.bot():
        interaction = await stage.discord.slash("serve", prompt="a fox", width=513)
        assert "must be a multiple of 8, not 513" in await refusal(stage, interaction)
    assert stage.requests() == []


async def test_a_picture_that_is_attached_goes_to_the_worker(stage: Stage) -> None:
    async with stage.bot():
        interaction = await stage.discord.slash("upscale", image=png("blue"), method="lanczos")
        request = await stage.request_of(interaction)
        too_large = await stage.discord.slash("upscale", 501, image=bytes(5_000_001))
        assert "at most 5 MB are taken" in await refusal(stage, too_large)
    job_input = stage.store.job_input(request.key)
    assert job_input["workflow"] == "upscale"
    assert job_input["parameters"] == {"image": "image.png", "method": "lanczos"}
    [file] = job_input["files"]
    assert file["name"] == "image.png"
    assert await stage.fetch_from(stage.discord, file["url"]) == png("blue")


async def test_buttons_work_after_a_restart(stage: Stage) -> None:
    async with stage.bot():
        key, message = await ended(stage, prompt="a fox")
    async with stage.bot():
        repeat = await stage.request_of(await stage.discord.click(message, "Repeat", user_id=501))
        vary = await stage.request_of(await stage.discord.click(message, "Vary"))
        upscale = await stage.request_of(await stage.discord.click(message, "Upscale"))
        await until(lambda: len(stage.visible()) == 4, "each has a message of its own")
    assert repeat.user == "501"
    assert stage.store.job_input(repeat.key)["parameters"] == {"prompt": "a fox", "seed": 42}
    assert stage.store.job_input(vary.key)["parameters"] == {"prompt": "a fox", "seed": "random"}
    larger = stage.store.job_input(upscale.key)
    assert larger["workflow"] == "upscale"
    assert larger["files"][0]["name"] == larger["parameters"]["image"]
    assert larger["files"][0]["url"].startswith(f"s3://outputs/once/{key}/files/")
    assert [item.content for item in message.attachments] == [png()]


async def test_only_who_asked_and_moderators_cancel(stage: Stage) -> None:
    async with stage.bot():
        waiting, message = await stage.serve(user_id=500)
        await until(lambda: message.buttons, "it has a button")
        stranger = await stage.discord.click(message, "Cancel", user_id=501)
        assert "Only who asked" in await refusal(stage, stranger)
        assert stage.store.get(waiting.key).state == "queued"
        await stage.discord.click(message, "Cancel", user_id=500)
        await until(lambda: stage.told(waiting.key), "the end was told")
        assert "Cancelled." in message.content

        running, message = await stage.serve(user_id=500)
        stage.master.run(running.key, 0.4)
        await until(lambda: message.buttons, "it has a button")
        await stage.discord.click(message, "Cancel", user_id=501, permissions=MANAGE_MESSAGES)
        await until(lambda: "Being cancelled" in message.content, "it says so")
        stage.master.end_cancelled(running.key)
        await until(lambda: "Cancelled." in message.content, "it says so")
    assert len(stage.visible()) == 2


async def test_a_check_of_ones_own_is_asked_and_lets_nothing_pass_when_it_fails(stage: Stage) -> None:
    def check(text: str, user: str) -> str | None:
        if text == "break":
            raise ValueError(text)
        return f"User {user} has had enough foxes." if "fox" in text else None

    stage.rules = Rules(check=check)
    async with stage.bot():
        fox = await stage.discord.slash("serve", 7, prompt="a fox")
        assert await refusal(stage, fox) == "User 7 has had enough foxes."
        broken = await stage.discord.slash("serve", 7, prompt="break")
        assert "could not be checked" in await refusal(stage, broken)
        await stage.serve(prompt="a hare")


async def test_a_database_that_is_slow_keeps_nobody_waiting_for_an_answer(stage: Stage, tmp_path: Path) -> None:
    async with stage.bot():
        await stage.serve()
        blocking = sqlite3.connect(tmp_path / "requests.sqlite", isolation_level=None)
        blocking.execute("BEGIN IMMEDIATE")
        interaction = await stage.discord.slash("serve", prompt="slowly")
        await until(lambda: interaction.acknowledged_at, "it is acknowledged")
        assert len(stage.requests()) == 1
        await asyncio.sleep(1.2)  # Discord would have given up by now
        blocking.execute("ROLLBACK")
        blocking.close()
        request = await stage.request_of(interaction)
        stage.master.run(request.key)
        stage.master.succeed(request.key, png())
        await until(lambda: stage.told(request.key), "the end was told")
    assert interaction.message is not None
    assert interaction.message.attachments[0].content == png()


async def test_a_command_that_is_gone_is_explained(stage: Stage) -> None:
    async with stage.bot():
        registered = stage.discord.commands
    (stage.templates / "upscale.json").unlink()
    async with stage.bot():
        assert [item["name"] for item in stage.discord.commands] == ["serve"]
        stage.discord.commands = registered  # somebody's client has not heard of it yet
        interaction = await stage.discord.slash("upscale", image=png())
        assert "no longer there" in await refusal(stage, interaction)


async def test_shards_share_the_servers(stage: Stage) -> None:
    number = (stage.discord.guild_id >> 22) % 2
    async with stage.bot(shard_ids=(number,), shard_count=2), stage.bot(shard_ids=(1 - number,), shard_count=2):
        shards = sorted(session.shard for session in stage.discord.gateway.connected())
        assert shards == [(0, 2), (1, 2)]
        await stage.serve()
    assert [len(session.events) for session in stage.discord.gateway.sessions.values()] == [3, 1]
