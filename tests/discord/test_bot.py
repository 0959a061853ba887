"""From a slash command to a picture: what people in a server see."""

from __future__ import annotations

from itertools import pairwise

import sqlalchemy as sa

from tests.discord.stage import Stage, png, until


async def test_a_command_becomes_a_picture_in_one_message(stage: Stage) -> None:
    async with stage.bot():
        interaction = await stage.discord.slash("serve", prompt="a fox in *snow*", width=512)
        request, message = await stage.request_of(interaction), await stage.message_of(interaction)
        assert interaction.acknowledged_at is not None
        assert interaction.acknowledged_at - interaction.created_at < 2
        await until(lambda: "Next in the queue" in message.content, "its place is shown")
        assert message.buttons == {"Cancel": f"cp:cancel:{request.key}"}
        assert r"a fox in \*snow\*" in message.content

        stage.master.run(request.key, 0.5, "KSampler 10/20", preview=png("blue"))
        await until(lambda: "50%" in message.content, "its progress is shown")
        assert "KSampler 10/20" in message.content
        assert "about 4 s left" in message.content
        assert message.attachments[0].content == png("blue")

        stage.master.succeed(request.key, png("green"), png("red"), seeds={"seed": 7})
        await until(lambda: stage.told(request.key), "the end was told")
    assert [item.content for item in message.attachments] == [png("green"), png("red")]
    assert list(message.buttons) == ["Repeat", "Vary", "Upscale"]
    assert "<@500>" in message.content
    assert len(stage.visible()) == 1
    assert stage.store.job_input(request.key) == {
        "workflow": "text_to_image",
        "parameters": {"prompt": "a fox in *snow*", "width": 512},
        "progress": {"previews": True},
    }
    assert (request.user, request.tenant) == ("500", f"discord:{stage.discord.guild_id}")


async def test_two_processes_on_the_same_shard_answer_once(stage: Stage) -> None:
    """Discord dispatches every interaction to both."""
    async with stage.bot(), stage.bot():
        assert len(stage.discord.gateway.connected()) == 2
        ended = []
        for number in range(5):
            request, message = await stage.serve(user_id=600 + number)
            await until(lambda message=message: message.looks, "it is shown")
            stage.master.run(request.key, 0.3)
            stage.master.succeed(request.key, png())
            ended.append((request, message))
        for request, _ in ended:
            await until(lambda request=request: stage.told(request.key), "the end was told")
    assert len(stage.requests()) == 5
    assert len(stage.visible()) == 5
    for _, message in ended:
        assert [item.content for item in message.attachments] == [png()]
        finals = [look for look in message.looks if "Repeat" in look.labels]
        assert len(finals) == 1
        assert message.looks[-1] == finals[0]


async def test_edits_are_no_more_than_one_in_a_second_and_a_half(stage: Stage) -> None:
    async with stage.bot():
        request, message = await stage.serve()
        for step in range(60):
            stage.master.run(request.key, step / 100)
            await stage.sleep(0.05)
        stage.master.succeed(request.key, png())
        await until(lambda: stage.told(request.key), "the end was told")
    progress = [look.at for look in message.looks[:-1]]
    assert len(progress) >= 2
    assert min(later - earlier for earlier, later in pairwise(progress)) >= 1.45


async def test_being_limited_is_waited_out(stage: Stage) -> None:
    async with stage.bot():
        request, message = await stage.serve()
        await until(lambda: message.looks, "it is shown")
        stage.discord.limited = [0.2, 0.3, 0.2]
        stage.master.run(request.key, 0.5)
        stage.master.succeed(request.key, png())
        await until(lambda: stage.told(request.key), "the end was told")
    assert stage.discord.refusals_429 == 3
    assert message.attachments[0].content == png()
    assert len(stage.visible()) == 1


async def test_a_connection_that_breaks_loses_no_command(stage: Stage) -> None:
    async with stage.bot():
        first, _ = await stage.serve()
        await stage.discord.gateway.drop()
        interaction = await stage.discord.slash("serve", prompt="while nobody listened")
        second = await stage.request_of(interaction)
        await stage.message_of(interaction)
        assert stage.discord.gateway.identifies == 1
        assert [session.resumes for session in stage.discord.gateway.sessions.values()] == [1]
        await stage.discord.gateway.ask_to_reconnect()
        await until(lambda: [s.resumes for s in stage.discord.gateway.sessions.values()] == [2], "it resumed again")
        for key in (first.key, second.key):
            stage.master.run(key)
            stage.master.succeed(key, png())
            await until(lambda key=key: stage.told(key), "the end was told")
    assert len(stage.visible()) == 2


async def test_a_session_that_discord_forgot_is_begun_anew(stage: Stage) -> None:
    async with stage.bot():
        [session] = stage.discord.gateway.connected()
        stage.discord.gateway.forget(session)
        await stage.discord.gateway.drop()
        await until(lambda: stage.discord.gateway.identifies == 2, "it identified again")
        await stage.discord.gateway.wait_connected()
        request, _ = await stage.serve()
    assert request.state == "queued"


async def test_an_interaction_that_comes_twice_is_one_request(stage: Stage) -> None:
    async with stage.bot():
        interaction = await stage.discord.slash("serve", prompt="a fox")
        request = await stage.request_of(interaction)
        await stage.message_of(interaction)
        await stage.discord.again(interaction)
        callbacks = lambda: [path for method, path in stage.discord.requests if path.endswith("/callback")]  # noqa: E731
        await until(lambda: len(callbacks()) == 2, "the second one was answered, too")
        stage.master.run(request.key)
        stage.master.succeed(request.key, png())
        await until(lambda: stage.told(request.key), "the end was told")
    assert len(stage.requests()) == 1
    assert len(stage.visible()) == 1


async def test_when_the_token_has_expired_the_bot_edits_by_its_own(stage: Stage) -> None:
    async with stage.bot():
        request, message = await stage.serve()
        await until(lambda: message.looks, "it is shown")
        stage.discord.age_tokens(15 * 60)
        stage.master.run(request.key, 0.5)
        await until(lambda: "50%" in message.content, "its progress is shown")
        stage.master.succeed(request.key, png())
        await until(lambda: stage.told(request.key), "the end was told")
    assert [look.by_token for look in message.looks[-2:]] == [False, False]
    assert message.attachments[0].content == png()
    assert len(stage.visible()) == 1


async def test_a_message_that_was_deleted_is_replaced_at_the_end(stage: Stage) -> None:
    async with stage.bot():
        request, message = await stage.serve()
        await until(lambda: message.looks, "it is shown")
        stage.discord.delete(message)
        stage.master.run(request.key, 0.5)
        await stage.sleep(2.0)
        assert stage.visible() == []
        stage.master.succeed(request.key, png())
        await until(lambda: stage.told(request.key), "the end was told")
    [replacement] = stage.visible()
    assert replacement.nonce == request.key[:25]
    assert replacement.attachments[0].content == png()
    assert stage.store.get(request.key).origin["message_id"] == str(replacement.id)


async def test_what_is_too_large_is_linked(stage: Stage) -> None:
    stage.discord.attachment_limit_bytes = 2_000
    small, large = png(), png("red", 64) + bytes(3_000)
    async with stage.bot():
        request, message = await stage.serve()
        stage.master.run(request.key)
        stage.master.succeed(request.key, large, small)
        await until(lambda: stage.told(request.key), "the end was told")
    assert [item.content for item in message.attachments] == [small]
    link = message.content.partition("(<")[2].partition(">)")[0]
    assert await stage.fetch(link) == large


async def test_a_server_that_takes_less_than_it_said_gets_links(stage: Stage) -> None:
    async with stage.bot():
        request, message = await stage.serve()
        stage.discord.attachment_limit_bytes = 10
        stage.master.run(request.key)
        stage.master.succeed(request.key, png())
        await until(lambda: stage.told(request.key), "the end was told")
    assert message.attachments == []
    assert await stage.fetch(message.content.partition("(<")[2].partition(">)")[0]) == png()


async def test_a_message_that_was_sent_and_not_noted_is_found(stage: Stage) -> None:
    """Also when Discord has forgotten the nonce."""
    async with stage.bot():
        request, message = await stage.serve()
        await until(lambda: message.looks, "it is shown")
        stage.discord.delete(message)
        stage.master.run(request.key)
        stage.master.succeed(request.key, png())
        await until(lambda: stage.told(request.key), "the end was told")
    [replacement] = stage.visible()
    replacement.nonce = None
    stage.store.set_origin(request.key, request.origin)  # what was kept before it was sent
    with stage.store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE comfypod_outbox SET delivered_at = NULL, due_at = created_at"))
    async with stage.bot():
        await until(lambda: stage.told(request.key), "the end was told")
    assert stage.visible() == [replacement]
    assert len(replacement.attachments) == 1


async def test_a_result_that_is_gone_is_told(stage: Stage) -> None:
    async with stage.bot():
        request, message = await stage.serve()
        stage.master.run(request.key)
        artifact = {"filename": "gone.png", "content_type": "image/png", "size_bytes": 3, "bucket_key": "once/gone"}
        stage.master.succeed(request.key, files=[artifact])
        await until(lambda: stage.told(request.key), "the end was told")
    assert "can no longer be fetched" in message.content


async def test_a_failure_is_a_sentence(stage: Stage) -> None:
    async with stage.bot():
        request, message = await stage.serve()
        stage.master.run(request.key, 0.3)
        stage.master.fail(request.key, "out_of_memory", "Node 3 (KSampler): CUDA out of memory, tried 12 GiB")
        await until(lambda: stage.told(request.key), "the end was told")
    assert "The GPU ran out of memory." in message.content
    assert "CUDA" not in message.content
    assert list(message.buttons) == ["Repeat"]


async def test_a_replay_is_shown_in_the_same_message(stage: Stage) -> None:
    async with stage.bot():
        request, message = await stage.serve()
        stage.master.run(request.key)
        stage.master.fail(request.key, "prompt_lost", "It was lost.")
        await until(lambda: stage.told(request.key), "the end was told")
        stage.store.replay(request.key)
        stage.master.run(request.key, 0.7)
        await until(lambda: "70%" in message.content, "the new run is shown", 20)
        stage.master.succeed(request.key, png())
        await until(lambda: stage.told(request.key), "the new end was told")
    assert message.attachments[0].content == png()
    assert len(stage.visible()) == 1


async def test_nothing_is_written_while_another_process_may_be_writing(stage: Stage) -> None:
    async with stage.bot():
        request, message = await stage.serve()
        await until(lambda: message.looks, "it is shown")
    assert stage.store.hold(f"discord:{request.key}", "another process", 20)
    looks = list(message.looks)
    async with stage.bot():
        stage.master.run(request.key, 0.5)
        await stage.sleep(2.5)
        stage.master.succeed(request.key, png())
        await stage.sleep(1.5)
        assert message.looks == looks
        stage.store.let_go(f"discord:{request.key}", "another process")
        await until(lambda: stage.told(request.key), "the end was told")
    assert len(message.looks) == len(looks) + 1


async def test_a_rush_is_acknowledged_in_time(stage: Stage) -> None:
    async with stage.bot():
        rush = [await stage.discord.slash("serve", 1000 + number, prompt="a fox") for number in range(60)]
        await until(lambda: all(item.acknowledged_at for item in rush), "all are acknowledged")
        assert max((item.acknowledged_at or 0) - item.created_at for item in rush) < 3
        await until(lambda: all(item.message and item.message.looks for item in rush), "all are shown")
    assert len(stage.requests()) == len(stage.visible()) == 60
