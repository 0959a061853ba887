"""Sizes that ``models.toml`` lacks: asked for, remembered, and told to be missing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfypod.batch.manifest.manifest import Manifest
from comfypod.batch.manifest.sizes import REMEMBERED_SECONDS, Size, SizesCache
from comfypod.errors import InvalidManifest
from comfypod.storage.models.manifest import ModelEntry
from tests.batch.manifest.making import read_rows, write_models
from tests.file_server import FileServer

ROW = {"prompt": "a", "parameters": {"checkpoint": "x.safetensors"}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server in a thread: a manifest is read where no event loop runs."""
    server, started, loop = FileServer(), threading.Event(), asyncio.new_event_loop()
    ending = asyncio.Event()

    async def serve() -> None:
        async with server.running():
            started.set()
            await ending.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(30)
    monkeypatch.setenv("DOWNLOAD_ALLOWED_HOSTS", "127.0.0.1")
    monkeypatch.setenv("CIVITAI_ENDPOINT", server.url("civitai"))
    yield server
    loop.call_soon_threadsafe(ending.set)
    thread.join(30)
    loop.close()


def write_source(folder: Path, source: str) -> None:
    write_models(folder, f'[[model]]\nname = "x.safetensors"\nfolder = "checkpoints"\n{source}\n')


def look_up(folder: Path, **options: object) -> Manifest:
    return read_rows(folder, ROW, look_up=True, sizes_cache=folder / "cache" / "sizes.json", **options)


def test_a_server_is_asked_once_for_the_size_of_its_file(server: FileServer, tmp_path: Path) -> None:
    server.files["models/x.safetensors"] = bytes(1234)
    write_source(tmp_path, f'url = "{server.url("models/x.safetensors")}?key=secret-9"')
    for _ in range(2):
        assert look_up(tmp_path).assets["checkpoints/x.safetensors"].size_bytes == 1234
    assert server.requests == ["/models/x.safetensors"]
    assert "secret-9" not in (tmp_path / "cache" / "sizes.json").read_text()


def test_civitai_tells_size_and_content(server: FileServer, tmp_path: Path) -> None:
    answer = '{"files": [{"name": "x", "primary": true, "sizeKB": 2, "hashes": {"SHA256": "%s"}}]}' % ("A" * 64)
    server.files["civitai/api/v1/model-versions/17"] = answer.encode()
    write_source(tmp_path, "civitai = 17")
    asset = look_up(tmp_path).assets["checkpoints/x.safetensors"]
    assert (asset.size_bytes, asset.sha256) == (2048, "a" * 64)


def test_what_a_source_does_not_tell_is_a_problem_with_its_name(server: FileServer, tmp_path: Path) -> None:
    write_source(tmp_path, f'url = "{server.url("gone.safetensors")}"')
    with pytest.raises(InvalidManifest, match=r"'x.safetensors' could not be fetched: .* HTTP 404"):
        look_up(tmp_path)
    assert look_up(tmp_path, assume_size_bytes=7).assets["checkpoints/x.safetensors"].size_bytes == 7
    assert not (tmp_path / "cache" / "sizes.json").exists() or "gone" not in (tmp_path / "cache/sizes.json").read_text()


def test_a_source_in_a_private_network_is_not_asked(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOWNLOAD_ALLOWED_HOSTS")
    write_source(tmp_path, f'url = "{server.url("x.safetensors")}"')
    with pytest.raises(InvalidManifest, match="DOWNLOAD_ALLOWED_HOSTS"):
        look_up(tmp_path)
    assert server.requests == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}', "[" * 100_000])
def test_a_cache_that_cannot_be_used_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "sizes.json"
    path.write_text(content)
    entry = ModelEntry(name="x", folder="vae", url="https://e.example/x")
    cache = SizesCache(path)
    assert cache.get(entry) is None
    cache.put(entry, Size(5, None))
    cache.save()
    assert SizesCache(path).get(entry) == Size(5, None)
    assert SizesCache(path).get(ModelEntry(name="x", folder="vae", url="https://e.example/y")) is None


def test_what_was_said_long_ago_is_asked_again(tmp_path: Path) -> None:
    now = [1e9]
    entry = ModelEntry(name="x", folder="vae", civitai=3)
    cache = SizesCache(tmp_path / "sizes.json", lambda: now[0])
    cache.put(entry, Size(5, "a" * 64))
    now[0] += REMEMBERED_SECONDS - 1
    assert cache.get(entry) == Size(5, "a" * 64)
    now[0] += 2
    assert cache.get(entry) is None
