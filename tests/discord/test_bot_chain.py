"""The whole chain: slash command, bot, master, local RunPod, its worker, the built-in engine, and back: a picture."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from comfypod.cli.local import LocalEndpoint
from comfypod.cloud.configuration import KEY_VARIABLE, URL_VARIABLE
from comfypod.master import engine
from tests.discord.bot_process import BotProcess, CommandProcess
from tests.discord.stage import Stage, until
from tests.s3_server import S3Server

SECONDS = 60


@pytest.fixture
def templates() -> Path:
    """Those that the workers have."""
    return Path(__file__).parents[2] / "workflows"


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'requests.sqlite'}"
    engine.migrate(url)
    return url


@pytest.fixture
def endpoint(tmp_path: Path, s3_server: S3Server) -> Iterator[LocalEndpoint]:
    endpoint = LocalEndpoint(tmp_path / "runpod.log", s3_server.environment)
    yield endpoint
    endpoint.stop()


async def test_from_command_to_picture_while_bot_and_master_are_killed(
    stage: Stage, endpoint: LocalEndpoint, database_url: str
) -> None:
    base_url = await asyncio.to_thread(endpoint.base_url)
    stage.environment = {**stage.environment, KEY_VARIABLE: endpoint.api_key, URL_VARIABLE: base_url}
    command = ("master", "run", "--database", database_url, "--endpoint", endpoint.endpoint_id, "--workers", "1")
    masters = [CommandProcess(command, stage.environment) for _ in range(2)]
    bots = [BotProcess(stage, database_url) for _ in range(2)]
    try:
        await asyncio.gather(masters[0].start(), bots[0].start())
        await stage.discord.gateway.wait_connected()
        request, message = await stage.serve(prompt="a green square", width=256, height=256, steps=8)
        await until(lambda: stage.told(request.key), "the end was told", SECONDS)
        assert "Repeat" in message.buttons, message.content
        with Image.open(io.BytesIO(message.attachments[0].content)) as picture:
            assert picture.size == (256, 256)

        varied = await stage.request_of(await stage.discord.click(message, "Vary"))
        waiting, second = await stage.serve(user_id=501, prompt="a blue circle", width=256, height=256, steps=20)
        await until(
            lambda: stage.store.get(varied.key).state not in {"queued", "submitting"}, "it is under way", SECONDS
        )
        await asyncio.gather(masters[0].kill(), bots[0].kill())
        await asyncio.gather(masters[1].start(), bots[1].start())
        for key in (varied.key, waiting.key):
            await until(lambda key=key: stage.told(key), "the end was told", SECONDS)
        upscaled = await stage.request_of(await stage.discord.click(message, "Upscale"))
        await until(lambda: stage.told(upscaled.key), "the end was told", SECONDS)
        assert await bots[1].stop() == 0
        assert await masters[1].stop() == 0
    finally:
        for process in (*masters, *bots):
            await process.end()
    ended = [stage.store.get(key) for key in (request.key, varied.key, waiting.key, upscaled.key)]
    assert [item.state for item in ended] == ["succeeded"] * 4
    assert len(stage.visible()) == 4
    assert all(len(item.attachments) == 1 and "Repeat" in item.buttons for item in stage.visible())
    assert message.attachments[0].content != second.attachments[0].content
    with Image.open(io.BytesIO(stage.visible()[-1].attachments[0].content)) as picture:
        assert picture.size == (512, 512)
