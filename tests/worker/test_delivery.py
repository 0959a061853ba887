"""Delivery against a server that says how large a file is, and a store that remembers what it is given."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.comfyui.outputs import OutputFile
from comfypod.comfyui.protocol import QueueSnapshot
from comfypod.deadline import Deadline
from comfypod.errors import OutputTooLarge, OutputVanished, ProtocolViolation, UploadFailed
from comfypod.files.content import FileContent
from comfypod.schema.artifact import Artifact
from comfypod.schema.job import OutputSelection
from comfypod.schema.workflow import Workflow
from comfypod.worker.delivery import Delivery, Ways
from comfypod.worker.workspace import Workspace

OTHER_BYTES = 1000
FILE = OutputFile("9", 0, "data.bin", "", "output")


class Files:
    """Serves one file of ``size`` bytes, or ``content``, and answers /queue as it is told."""

    def __init__(self) -> None:
        self.size: int | None = 3000
        self.content: bytes | None = None
        self.queue: object = {"queue_running": [], "queue_pending": []}

    async def view(self, _: web.Request) -> web.Response:
        return web.Response(status=404) if self.size is None else web.Response(body=self.content or bytes(self.size))

    async def show_queue(self, _: web.Request) -> web.Response:
        return web.json_response(self.queue)


class Shelf:
    """A store that keeps what it is given, up to ``room`` files."""

    def __init__(self, room: int = 10) -> None:
        self.files: dict[str, int] = {}
        self.newest = b""
        self._room = room

    async def upload(self, content: FileContent, key: str, content_type: str, deadline: Deadline) -> str:
        del content_type, deadline
        if len(self.files) >= self._room:
            raise UploadFailed(key, "it is full")
        self.files[key] = content.size_bytes()
        self.newest = bytes(content.read(hashlib.sha256()))
        return hashlib.sha256(self.newest).hexdigest()

    def url(self, key: str) -> tuple[str, datetime | None]:
        return f"https://shelf.example/{key}", datetime(2026, 11, 22, 8, tzinfo=UTC)


@pytest.fixture
def files() -> Files:
    return Files()


@pytest_asyncio.fixture
async def http(files: Files) -> AsyncIterator[ComfyUIHTTP]:
    application = web.Application()
    application.add_routes([web.get("/view", files.view), web.get("/queue", files.show_queue)])
    async with TestServer(application) as server, ComfyUIHTTP(str(server.make_url("/"))) as http:
        yield http


@pytest_asyncio.fixture
async def workspace() -> AsyncIterator[Workspace]:
    async with Workspace("job-1", None) as workspace:
        yield workspace


async def deliver(
    http: ComfyUIHTTP,
    workspace: Workspace,
    *given: OutputFile,
    wanted: str = "auto",
    limit_bytes: int = 10**6,
    **ways: Any,
) -> list[Artifact]:
    chosen = Ways(wanted, limit_bytes, ways.get("store"), ways.get("volume", Path("/nowhere")))
    delivery = Delivery("job-1", chosen, workspace, Deadline.after(10), asyncio.Semaphore(1))
    return await delivery.deliver(http, Workflow({}), given or [FILE], OutputSelection(), OTHER_BYTES)


async def test_a_file_that_fits_is_delivered_whole(http: ComfyUIHTTP, workspace: Workspace) -> None:
    (artifact,) = await deliver(http, workspace)
    assert (artifact.type, artifact.size_bytes, artifact.width) == ("base64", 3000, None)
    assert base64.b64decode(artifact.data) == bytes(3000)


async def test_what_does_not_fit_goes_to_the_bucket_and_all_of_it(http: ComfyUIHTTP, workspace: Workspace) -> None:
    other, shelf = OutputFile("9", 1, "b.bin", "", "output"), Shelf()
    limit_bytes = OTHER_BYTES + 6000
    assert (await deliver(http, workspace, limit_bytes=limit_bytes, store=shelf))[0].type == "base64"
    artifacts = await deliver(http, workspace, FILE, other, limit_bytes=limit_bytes, store=shelf)
    assert shelf.files == {"job-1/9/data.bin": 3000, "job-1/9/b.bin": 3000}
    assert [artifact.to_json()["data"] for artifact in artifacts] == [
        "https://shelf.example/job-1/9/data.bin",
        "https://shelf.example/job-1/9/b.bin",
    ]
    assert artifacts[0].url_expires_at == "2026-11-22T08:00:00Z"


def png(side: int, text: str) -> bytes:
    """A picture of noise, with a text as ComfyUI keeps the workflow."""
    noise = Image.frombytes("RGB", (side, side), random.Random(side).randbytes(3 * side * side))  # noqa: S311
    notes, content = PngInfo(), io.BytesIO()
    notes.add_text("prompt", text)
    noise.save(content, "PNG", pnginfo=notes)
    return content.getvalue()


@pytest.mark.parametrize("wanted", ["inline", "bucket", "path"])
async def test_every_way_takes_the_same_bytes_and_tells_their_hash(
    http: ComfyUIHTTP, files: Files, workspace: Workspace, tmp_path: Path, wanted: str
) -> None:
    file, shelf = OutputFile("9", 0, "a.png", "", "output"), Shelf()
    for side in (16, 400):  # small, and too large to be encoded on the spot
        files.content = png(side, f'{{"filename_prefix": "{workspace.folder}/fox"}}')

        (artifact,) = await deliver(http, workspace, file, wanted=wanted, store=shelf, volume=tmp_path / "volume")

        inline = base64.b64decode(artifact.data) if wanted == "inline" else b""
        content = {"inline": inline, "bucket": shelf.newest}.get(wanted) or Path(artifact.data).read_bytes()
        assert content == png(side, '{"filename_prefix": "fox"}')
        assert (artifact.size_bytes, artifact.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert (artifact.width, artifact.height) == (side, side)


@pytest.mark.parametrize("store", [None, Shelf()])
async def test_what_does_not_fit_and_may_not_go_elsewhere_is_an_error(
    http: ComfyUIHTTP, workspace: Workspace, store: Shelf | None
) -> None:
    wanted = "auto" if store is None else "inline"
    with pytest.raises(OutputTooLarge, match="BUCKET_ENDPOINT_URL") as caught:
        await deliver(http, workspace, limit_bytes=OTHER_BYTES + 4000, store=store, wanted=wanted)
    assert caught.value.size_bytes > OTHER_BYTES + 4000


async def test_a_file_that_cannot_be_stored_fails_the_whole_delivery(http: ComfyUIHTTP, workspace: Workspace) -> None:
    other = OutputFile("9", 1, "b.bin", "", "output")
    with pytest.raises(UploadFailed, match="it is full"):
        await deliver(http, workspace, FILE, other, wanted="bucket", store=Shelf(room=1))


async def test_a_file_that_is_gone_is_told_by_its_node(http: ComfyUIHTTP, files: Files, workspace: Workspace) -> None:
    files.size = None
    with pytest.raises(OutputVanished, match=r"Node 9 names the file 'data.bin'") as caught:
        await deliver(http, workspace)
    assert caught.value.retryable


async def test_no_name_leads_out_of_the_volume_or_over_another_file(
    http: ComfyUIHTTP, workspace: Workspace, tmp_path: Path
) -> None:
    given = [
        OutputFile("../../9", 0, "../../a.bin", "x", "output"),
        OutputFile("9", 1, "a.bin", "x", "output"),
        OutputFile("9", 2, "a.bin", "y", "output"),
        OutputFile("..", 0, "b.bin", "", "output"),
    ]
    artifacts = await deliver(http, workspace, *given, wanted="path", volume=tmp_path / "volume")
    paths = [Path(artifact.data) for artifact in artifacts]
    assert len(set(paths)) == 4
    for path in paths:
        assert path.resolve().is_relative_to(tmp_path / "volume" / "job-1")
        assert path.read_bytes() == bytes(3000)


async def test_a_volume_that_takes_nothing_is_told(http: ComfyUIHTTP, workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "volume").write_text("a file, and no folder")
    with pytest.raises(UploadFailed, match="could not be uploaded"):
        await deliver(http, workspace, wanted="path", volume=tmp_path / "volume")


@pytest.mark.parametrize("queue", [{}, {"queue_running": [5], "queue_pending": []}, {"queue_running": None}, [1]])
async def test_a_queue_of_another_shape_is_told(http: ComfyUIHTTP, files: Files, queue: object) -> None:
    files.queue = queue
    with pytest.raises(ProtocolViolation):
        QueueSnapshot.from_json(await http.queue())
