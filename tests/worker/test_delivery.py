"""Delivery against a server that says how large a file is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from comfypod.comfyui.http import ComfyUIHTTP
from comfypod.comfyui.outputs import OutputFile
from comfypod.comfyui.protocol import QueueSnapshot
from comfypod.errors import OutputTooLarge, ProtocolViolation
from comfypod.schema.workflow import Workflow
from comfypod.worker.delivery import deliver_inline

FILE = OutputFile("9", 0, "video.mp4", "", "output")


class Files:
    """Serves one file of ``size`` bytes, counts how often it is fetched, and answers /queue as it is told."""

    def __init__(self) -> None:
        self.size = 3000
        self.fetched = 0
        self.queue: object = {"queue_running": [], "queue_pending": []}

    async def view(self, request: web.Request) -> web.Response:
        self.fetched += request.method == "GET"
        return web.Response(body=bytes(self.size))

    async def show_queue(self, _: web.Request) -> web.Response:
        return web.json_response(self.queue)


@pytest.fixture
def files() -> Files:
    return Files()


@pytest_asyncio.fixture
async def http(files: Files) -> AsyncIterator[ComfyUIHTTP]:
    application = web.Application()
    application.add_routes([web.get("/view", files.view), web.get("/queue", files.show_queue)])
    async with TestServer(application) as server, ComfyUIHTTP(str(server.make_url("/"))) as http:
        yield http


async def test_a_file_that_fits_is_delivered_whole(http: ComfyUIHTTP, files: Files) -> None:
    (artifact,) = await deliver_inline(http, Workflow({}), [FILE], limit_bytes=4000)
    assert (artifact.size_bytes, artifact.content_type, artifact.width) == (3000, "video/mp4", None)
    assert files.fetched == 1


async def test_files_that_do_not_fit_are_not_even_fetched(http: ComfyUIHTTP, files: Files) -> None:
    with pytest.raises(OutputTooLarge) as caught:
        await deliver_inline(http, Workflow({}), [FILE, FILE], limit_bytes=7999)
    assert caught.value.size_bytes == 8000  # as base64
    assert files.fetched == 0


@pytest.mark.parametrize("queue", [{}, {"queue_running": [5], "queue_pending": []}, {"queue_running": None}, [1]])
async def test_a_queue_of_another_shape_is_told(http: ComfyUIHTTP, files: Files, queue: object) -> None:
    files.queue = queue
    with pytest.raises(ProtocolViolation):
        QueueSnapshot.from_json(await http.queue())
