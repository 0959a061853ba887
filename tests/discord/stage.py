"""A bot in this process, a fake Discord, a store, a bucket, and a master that does as the test says."""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image

from comfypod.discord.leases import LeaseTimes
from comfypod.discord.process import BotOptions, Surroundings, serve
from comfypod.discord.results import Results
from comfypod.discord.rules import Rules
from comfypod.discord.templates import Templates
from comfypod.discord.wishes import AttachmentRules
from comfypod.master.documents import Outcome, Request
from comfypod.master.quotas import Quota
from comfypod.master.store import Store
from comfypod.settings import Settings
from tests.discord.fake_discord import FakeDiscord
from tests.discord.fake_documents import Interaction, Message
from tests.s3_server import BUCKET, S3Server

SECONDS = 15.0
LEASE_SECONDS = 3.0


async def until(condition: Callable[[], Any], what: str = "", seconds: float = SECONDS) -> Any:
    """What ``condition`` returns as soon as that is true; the test fails if it never is."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"this never came to be: {what}"
        await asyncio.sleep(0.02)
    return found


def png(colour: str = "red", size: int = 64) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(written, "PNG")
    return written.getvalue()


class ScriptedMaster:
    """Moves requests along in the store, and puts files where workers put them."""

    def __init__(self, store: Store, server: S3Server) -> None:
        self._store = store
        self._server = server

    def run(self, key: str, value: float = 0.0, message: str = "", preview: bytes | None = None) -> None:
        """Let it run, as far as that."""
        request = self._store.get(key)
        attempt = request.attempt
        if request.state == "queued":
            attempt = self._store.begin_attempt(key, request.run, "endpoint") or 0
            self._store.submitted(key, attempt, "job-1")
        progress = {"sequence": 1, "stage": "execute", "value": value, "message": message, "eta_seconds": 4.2}
        assert self._store.progressed(key, attempt, "running", progress, "worker-1")
        if preview is not None:
            assert self._store.save_preview(key, "image/jpeg", preview)

    def succeed(self, key: str, *contents: bytes, **more: Any) -> None:
        """End it with these files, as a worker commits them."""
        images = [self._put(key, number, content) for number, content in enumerate(contents)]
        output = {"status": "success", "images": images, "files": [], "texts": [], **more}
        assert self._store.finish(key, self._store.get(key).run, Outcome(state="succeeded", output=output))

    def fail(self, key: str, code: str, message: str) -> None:
        error = {"code": code, "message": message, "class": "resource", "retryable": True, "details": {}}
        assert self._store.finish(key, self._store.get(key).run, Outcome(state="failed", error=error))

    def end_cancelled(self, key: str) -> None:
        assert self._store.finish(key, self._store.get(key).run, Outcome(state="cancelled"))

    def _put(self, key: str, number: int, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        name = f"picture_{number:05}_.png"
        bucket_key = f"once/{key}/files/{digest[:16]}-{name}"
        self._server.client.put_object(Bucket=BUCKET, Key=bucket_key, Body=content)
        size = len(content)
        about = {"filename": name, "content_type": "image/png", "size_bytes": size, "sha256": digest, "node_id": "9"}
        return {**about, "bucket_key": bucket_key, "subfolder": "", "index": number}


class Stage:
    """Everything of one test."""

    def __init__(self, discord: FakeDiscord, store: Store, server: S3Server, templates: Path) -> None:
        self.discord = discord
        self.store = store
        self.master = ScriptedMaster(store, server)
        self.environment = server.environment
        self.templates = templates
        self.rules = Rules()
        self.quota = Quota(user_at_once=3)

    @asynccontextmanager
    async def bot(self, **options: Any) -> AsyncIterator[None]:
        """A bot that is connected, for as long as the body runs."""
        stop, ready = asyncio.Event(), asyncio.Event()
        results = Results.from_settings(Settings.from_environment(self.environment))
        given = Surroundings(self.store, results, Templates.load(self.templates), self.rules)
        hosts = (self.discord.url.removeprefix("http://"),)
        chosen = BotOptions(
            **{"token": self.discord.token, "discord_url": self.discord.url, "quota": self.quota} | options,
            attachments=AttachmentRules(5_000_000, hosts),
            times=LeaseTimes(LEASE_SECONDS),
        )
        before = len(self.discord.gateway.connected())
        serving = asyncio.create_task(serve(chosen, given, stop, lambda _: ready.set()))
        try:
            await until(lambda: ready.is_set() or serving.done(), "the bot is ready")
            if serving.done():
                serving.result()
            await self.discord.gateway.wait_connected(before + 1)
            yield
        finally:
            stop.set()
            await serving

    def requests(self) -> list[Request]:
        return self.store.list(limit=500)

    async def request_of(self, interaction: Interaction) -> Request:
        tenant = f"discord:{self.discord.guild_id}"
        return await until(lambda: self.store.find(tenant, str(interaction.id)), "the request is in the store")

    async def message_of(self, interaction: Interaction) -> Message:
        return await until(lambda: interaction.message, "the interaction is answered")

    async def serve(self, user_id: int = 500, **options: Any) -> tuple[Request, Message]:
        """Somebody asks for a picture; what came of it in the store, and what they see."""
        interaction = await self.discord.slash("serve", user_id, **({"prompt": "a fox"} | options))
        return await self.request_of(interaction), await self.message_of(interaction)

    def visible(self) -> list[Message]:
        """What everybody sees."""
        return [item for item in self.discord.messages.values() if not item.is_deleted and not item.is_ephemeral]

    def told(self, key: str) -> bool:
        """Whether the outbox has nothing left of it."""
        items = self.store.outbox(key)
        return bool(items) and all(item.delivered_at for item in items)

    @staticmethod
    async def sleep(seconds: float) -> None:
        """Let time pass in which something must not happen, or happens bit by bit."""
        await asyncio.sleep(seconds)

    @staticmethod
    async def fetch(url: str) -> bytes:
        """What whoever clicks on a link gets."""
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert response.status == 200
            return await response.read()

    async def fetch_from(self, discord: FakeDiscord, url: str) -> bytes:
        assert url.startswith(discord.url)
        return await self.fetch(url)
