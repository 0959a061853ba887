"""The models of a batch: in order, over a full link, and what becomes of those that cannot be had."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from comfypod.batch.documents import Asset
from comfypod.batch.runner.bell import Bell
from comfypod.batch.runner.downloads import Downloads
from comfypod.batch.runner.gate import LINK_SECONDS, LinkMeter
from comfypod.errors import PodUnfit
from comfypod.settings import Settings
from tests.batch.doubles.coordinator import until
from tests.batch.system.servers import model_file
from tests.storage.download_server import SEND_BYTES, DownloadServer, ServedFile

SIZE = 3 * SEND_BYTES


class Site:
    """Files by name, and what asks for them."""

    def __init__(self, server: DownloadServer, folder: Path) -> None:
        self.server = server
        self.folder = folder

    def asset(self, name: str, size_bytes: int = 10_000, **served: Any) -> Asset:
        content = model_file(name, size_bytes)
        url = self.server.serve(f"/{name}", ServedFile(content, **served))
        sha256 = hashlib.sha256(content).hexdigest()
        entry = {"name": f"{name}.safetensors", "folder": "loras", "url": url}
        return Asset(key=f"loras/{name}.safetensors", size_bytes=size_bytes, sha256=sha256, entry=entry)

    def downloads(self, *assets: Asset) -> Downloads:
        environment = {"DOWNLOAD_ALLOWED_HOSTS": "127.0.0.1", "MODELS_DIRECTORY": str(self.folder / "models")}
        return Downloads(assets, Settings.from_environment(environment), {}, {}, Bell())

    def asked(self) -> list[str]:
        return list(dict.fromkeys(seen.path for seen in self.server.seen))


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    async with DownloadServer().running() as server:
        yield Site(server, folder)


@asynccontextmanager
async def running(downloads: Downloads) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(downloads.run(time.time() + 3600))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_files_come_one_after_the_other_in_the_order_of_the_plan(tmp_path: Path) -> None:
    async with site(tmp_path) as source:
        first, second, third = source.asset("b", SIZE, hold_after=SEND_BYTES), source.asset("a"), source.asset("c")
        downloads = source.downloads(first, second, third)
        assert await downloads.missing() == [first.key, second.key, third.key]
        async with running(downloads):
            await until(lambda: source.server.files["/b"].sent_bytes)
            assert source.asked() == ["/b"]
            source.server.files["/b"].released.set()
            await until(lambda: len(downloads.present) == 3)
        assert source.asked() == ["/b", "/a", "/c"]
        assert downloads.downloaded_bytes == SIZE + 20_000
        path = downloads.path(first.key)
        assert path == tmp_path / "models" / "loras" / "b.safetensors"
        assert path.read_bytes() == model_file("b", SIZE)


async def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    async with site(tmp_path) as source:
        asset = source.asset("a")
        first = source.downloads(asset)
        async with running(first):
            await until(lambda: first.present)
        again = source.downloads(asset)
        assert await again.missing() == []
        assert again.present == {asset.key}


async def test_what_comes_with_the_image_is_present(tmp_path: Path) -> None:
    async with site(tmp_path) as source:
        downloads = source.downloads(Asset(key="vae/x.safetensors", size_bytes=5))
        assert await downloads.missing() == []
        assert downloads.usable == {"vae/x.safetensors"}


async def test_more_may_be_wanted_later(tmp_path: Path) -> None:
    async with site(tmp_path) as source:
        first, second = source.asset("a"), source.asset("b")
        downloads = source.downloads(first)
        async with running(downloads):
            await until(lambda: downloads.present)
            downloads.add([first, second])
            await until(lambda: len(downloads.present) == 2)
        assert source.asked() == ["/a", "/b"]


async def test_one_that_can_never_be_had_holds_up_no_other(tmp_path: Path) -> None:
    async with site(tmp_path) as source:
        wrong = source.asset("wrong").model_copy(update={"sha256": "0" * 64})
        gone = source.asset("gone", answers=[(404, {})] * 9)
        invalid = Asset(key="loras/x", size_bytes=1, entry={"name": "x", "folder": "loras", "url": "file:///etc"})
        other = source.asset("other").model_copy(update={"key": "loras/else"})
        good = source.asset("good")
        downloads = source.downloads(wrong, gone, invalid, other, good)
        async with running(downloads):
            await until(lambda: len(downloads.usable) == 5)
        assert downloads.present == {good.key}
        assert downloads.failed.keys() == {wrong.key, gone.key, invalid.key, other.key}
        assert "sha256" in str(downloads.failed[wrong.key])


async def test_a_source_that_is_away_is_asked_again(tmp_path: Path) -> None:
    async with site(tmp_path) as source:
        asset = source.asset("a", answers=[(503, {})] * 6)
        downloads = source.downloads(asset)
        async with running(downloads):
            await until(lambda: downloads.present == {asset.key})
        assert not downloads.failed


async def test_a_download_that_was_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    size_bytes = 36 * 1024**2  # in several parts
    async with site(tmp_path) as source:
        asset = source.asset("a", size_bytes, hold_after=3 * 1024**2)
        served = source.server.files["/a"]
        downloads = source.downloads(asset)
        async with running(downloads):
            await until(lambda: downloads.received.get(asset.key, 0) >= 4 * 1024**2)
        before, served.hold_after = served.sent_bytes, None
        again = source.downloads(asset)
        async with running(again):
            await until(lambda: again.present)
        assert served.sent_bytes - before < size_bytes - 2 * 1024**2
        path = again.path(asset.key)
        assert path is not None
        assert path.read_bytes() == model_file("a", size_bytes)


async def test_a_link_that_is_much_slower_than_offered_is_told(tmp_path: Path) -> None:
    async with site(tmp_path) as source:
        downloads = source.downloads(source.asset("a", 10**6, pace_seconds=0.05))
        downloads.meter = LinkMeter(1e9, begun_at=time.monotonic() - LINK_SECONDS)
        with pytest.raises(PodUnfit, match="a second came"):
            await asyncio.wait_for(downloads.run(time.time() + 3600), 30)
