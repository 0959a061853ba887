"""The bot is killed, at the worst moments, and another process goes on: the same messages, to their end, once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from comfypod.discord.origin import Origin
from comfypod.master import engine
from comfypod.master.documents import NewRequest, Notification
from comfypod.master.store import Store
from tests.discord.bot_process import BotProcess
from tests.discord.fake_documents import Message
from tests.discord.stage import Stage, png, until


@pytest.fixture
def database_url(tmp_path: object) -> str:
    url = f"sqlite:///{tmp_path}/requests.sqlite"
    engine.migrate(url)
    return url


@pytest.fixture
async def bots(stage: Stage, database_url: str) -> AsyncIterator[list[BotProcess]]:
    """Two of them, not started."""
    bots = [BotProcess(stage, database_url), BotProcess(stage, database_url)]
    yield bots
    for bot in bots:
        await bot.end()


def finals(message: Message) -> int:
    """How often it was made to look like a result."""
    return len([look for look in message.looks if "Repeat" in look.labels])


async def test_killed_in_mid_queue_it_goes_on(stage: Stage, bots: list[BotProcess]) -> None:
    first, second = bots
    await first.start()
    await stage.discord.gateway.wait_connected()
    asked = [await stage.serve(user_id=600 + number) for number in range(4)]
    for _, message in asked:
        await until(lambda message=message: message.looks, "it is shown")
    running = asked[0][0].key
    stage.master.run(running, 0.4)
    await until(lambda: "40%" in asked[0][1].content, "its progress is shown")
    await first.kill()
    stage.master.run(running, 0.6)
    stage.master.succeed(asked[1][0].key, png("green"))  # nobody is there to tell it
    await second.start()
    await until(lambda: "60%" in asked[0][1].content, "the second one shows it")
    for request, _ in asked[2:]:
        stage.master.run(request.key, 0.5)
    for request, _ in (asked[0], *asked[2:]):
        stage.master.succeed(request.key, png("green"))
    for request, message in asked:
        await until(lambda key=request.key: stage.told(key), "the end was told")
        assert [item.content for item in message.attachments] == [png("green")]
        assert finals(message) == 1
        assert "Repeat" in message.looks[-1].labels
    assert len(stage.visible()) == 4
    clicked = await stage.discord.click(asked[3][1], "Vary")
    assert (await stage.request_of(clicked)).state == "queued"
    assert await second.stop() == 0
    assert stage.discord.token not in "\n".join(first.lines + second.lines)
    for interaction in stage.discord.interactions.values():
        assert interaction.token not in "\n".join(first.lines + second.lines)


async def test_killed_after_discord_answered_and_before_that_was_noted(stage: Stage, bots: list[BotProcess]) -> None:
    first, second = bots
    await first.start()
    await stage.discord.gateway.wait_connected()
    request, message = await stage.serve()
    await until(lambda: message.looks, "it is shown")
    stage.master.run(request.key)
    stage.discord.answers_late["PATCH messages"] = 5
    stage.master.succeed(request.key, png())
    await until(lambda: finals(message), "Discord has the result")
    await first.kill()
    assert not stage.told(request.key)
    stage.discord.answers_late.clear()
    await second.start()
    await until(lambda: stage.told(request.key), "the end was told")
    assert finals(message) == 1
    assert [item.content for item in message.attachments] == [png()]
    assert len(stage.visible()) == 1


async def test_killed_after_the_acknowledgement_and_before_it_knew_the_message(
    stage: Stage, bots: list[BotProcess]
) -> None:
    first, second = bots
    await first.start()
    await stage.discord.gateway.wait_connected()
    stage.discord.answers_late["POST callback"] = 5
    young, old = [await stage.discord.slash("serve", number, prompt="a fox") for number in (1, 2)]
    requests = [await stage.request_of(item) for item in (young, old)]
    messages = [await stage.message_of(item) for item in (young, old)]
    await first.kill()
    stage.discord.answers_late.clear()
    assert all(stage.store.get(item.key).origin["message_id"] is None for item in requests)
    stage.discord.forget_token(old)  # as after a quarter of an hour: then the reply is looked for in the channel
    await second.start()
    for request, message in zip(requests, messages, strict=True):
        stage.master.run(request.key)
        stage.master.succeed(request.key, png())
        await until(lambda key=request.key: stage.told(key), "the end was told", 25)
        assert [item.content for item in message.attachments] == [png()]
    assert len(stage.visible()) == 2


async def test_killed_before_the_acknowledgement(
    stage: Stage, bots: list[BotProcess], store: Store, database_url: str
) -> None:
    """Its user was told that it did not respond; the picture comes all the same, in a message of the bot's own."""
    late = Store.open(database_url, clock=lambda: datetime.now(UTC) - timedelta(minutes=1))
    stage.discord.commands = [{"name": "serve", "options": []}]
    interaction = await stage.discord.slash("serve")
    names = ("application_id", "guild_id", "channel_id")
    origin = Origin(
        **{name: getattr(stage.discord, name) for name in names},
        user_id=500,
        interaction_id=interaction.id,
        token=interaction.token,
        text="a fox",
        template="text_to_image",
        attachment_limit_bytes=1_000_000,
    )
    request = late.submit(
        NewRequest(
            tenant=f"discord:{stage.discord.guild_id}",
            user="500",
            idempotency_key=str(interaction.id),
            job_input={"workflow": "text_to_image", "parameters": {"prompt": "a fox"}},
            labels={"front_end": "discord"},
            origin=origin.to_json(),
            notify=(Notification("discord", {}),),
        )
    ).request
    late.close()
    for bot in bots:
        await bot.start()
    await until(stage.visible, "there is a message")
    stage.master.run(request.key, 0.5)
    stage.master.succeed(request.key, png())
    await until(lambda: stage.told(request.key), "the end was told")
    [message] = stage.visible()
    assert message.nonce == request.key[:25]
    assert [item.content for item in message.attachments] == [png()]


async def test_frozen_while_another_told_the_end_it_repairs_what_it_wrote(stage: Stage, bots: list[BotProcess]) -> None:
    first, second = bots
    await first.start()
    await stage.discord.gateway.wait_connected()
    request, message = await stage.serve()
    await until(lambda: message.looks, "it is shown")
    await asyncio.sleep(1.6)  # its next edit may follow at once
    stage.discord.acts_late = [12]
    stage.master.run(request.key, 0.5)
    await until(lambda: not stage.discord.acts_late, "the edit is on its way")
    first.signal(signal.SIGSTOP)
    await second.start()
    stage.master.succeed(request.key, png())
    await until(lambda: stage.told(request.key), "the second one told the end")
    assert "50%" not in message.content
    await until(lambda: "50%" in message.content, "the edit arrives after all")
    first.signal(signal.SIGCONT)
    await until(lambda: "Repeat" in message.looks[-1].labels, "the first one repaired it")
    assert [item.content for item in message.attachments] == [png()]
    assert len(stage.visible()) == 1


async def test_a_token_that_discord_refuses_ends_it_with_a_sentence(stage: Stage, bots: list[BotProcess]) -> None:
    bot = await bots[0].start(DISCORD_TOKEN="wrong-token", waits=False)
    assert await bot.wait() == 2
    assert "discord_token_refused: Discord refused DISCORD_TOKEN" in bot.lines[-1]
    assert "wrong-token" not in "\n".join(bot.lines)
