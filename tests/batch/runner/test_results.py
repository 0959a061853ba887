"""Where results go: once under each name, whoever sends them, and whatever breaks off."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from comfypod.batch.documents import File, Welcome
from comfypod.batch.runner.environment import PodEnvironment
from comfypod.batch.runner.results import Results, open_results
from comfypod.deadline import Deadline
from comfypod.errors import ConfigurationError, UploadFailed, UploadRefused
from comfypod.settings import Settings
from tests.batch.system import servers
from tests.s3_server import BUCKET, S3Server

CONTENT = b"a picture"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = File(name="a fox/ü 1.png", sha256=SHA256, size_bytes=len(CONTENT), media_type="image/png")


def welcome(**results: Any) -> Welcome:
    return Welcome(
        batch="b1", state="running", assets=(), results=results, lease_seconds=60, session_items=4, ends_at=2e9
    )


def pod(url: str, folder: Path) -> PodEnvironment:
    return PodEnvironment(url=url, token="T", pod="p", ends_at=2e9, folder=folder, results_token="R")


@asynccontextmanager
async def place(folder: Path, *routes: web.RouteDef, coordinator: str = "http://127.0.0.1:1") -> AsyncIterator[Results]:
    application = web.Application()
    application.add_routes(routes)
    async with TestServer(application) as server:
        url = str(server.make_url("/results"))
        own = str(server.make_url("")).rstrip("/") if coordinator == "same" else coordinator
        async with open_results(welcome(kind="http", url=url), pod(own, folder), Settings()) as results:
            yield results


def picture(folder: Path) -> Path:
    path = folder / "picture.png"
    path.write_bytes(CONTENT)
    return path


async def store(results: Results, folder: Path) -> File:
    return await results.store(picture(folder), FILE, Deadline.after(30))


async def test_a_file_is_put_once_and_a_second_time_is_no_harm(tmp_path: Path) -> None:
    taken = servers.Results()
    async with place(tmp_path, *taken.routes()) as results:
        assert await store(results, tmp_path) == FILE
        assert await store(results, tmp_path) == FILE
    assert taken.files == {FILE.name: CONTENT}
    assert taken.again == [FILE.name]
    assert not taken.problems


async def test_what_another_pod_put_first_stays_and_is_told_as_it_is(tmp_path: Path) -> None:
    taken = servers.Results(files={FILE.name: b"another picture"})
    async with place(tmp_path, *taken.routes()) as results:
        there = await store(results, tmp_path)
    assert taken.files == {FILE.name: b"another picture"}
    assert (there.sha256, there.size_bytes) == (hashlib.sha256(b"another picture").hexdigest(), 15)


async def test_a_place_that_is_away_is_a_failure_that_may_pass(tmp_path: Path) -> None:
    async with place(tmp_path, *servers.Results(is_away=True).routes()) as results:
        with pytest.raises(UploadFailed, match="HTTP 503") as caught:
            await store(results, tmp_path)
    assert caught.value.retryable


def cutting(seen: list[str], status: int) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Closes the connection at a PUT; says at a HEAD what is there."""

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request.method)
        if request.method == "PUT" and request.transport is not None:
            request.transport.close()
        return web.Response(status=status, headers={"ETag": f'"{SHA256}"', "Content-Length": str(len(CONTENT))})

    return answer


async def test_an_upload_that_broke_off_is_looked_for(tmp_path: Path) -> None:
    seen: list[str] = []
    async with place(tmp_path, web.route("*", "/results/{name:.+}", cutting(seen, 200))) as results:
        assert await store(results, tmp_path) == FILE
    assert seen == ["PUT", "HEAD"]


async def test_an_upload_that_broke_off_and_is_not_there_failed(tmp_path: Path) -> None:
    async with place(tmp_path, web.route("*", "/results/{name:.+}", cutting([], 404))) as results:
        with pytest.raises(UploadFailed, match="broke off"):
            await store(results, tmp_path)


@pytest.mark.parametrize(("coordinator", "expected"), [("same", "Bearer T"), ("http://127.0.0.1:1", "Bearer R")])
async def test_the_batchs_token_goes_to_the_coordinator_only(tmp_path: Path, coordinator: str, expected: str) -> None:
    seen: list[str | None] = []

    async def take(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(status=201)

    async with place(tmp_path, web.put("/results/{name:.+}", take), coordinator=coordinator) as results:
        await store(results, tmp_path)
    assert seen == [expected]


async def test_a_file_that_is_not_what_it_was_is_not_told_as_sent(tmp_path: Path) -> None:
    async def take(_: web.Request) -> web.Response:
        return web.Response(status=201)

    async with place(tmp_path, web.put("/results/{name:.+}", take)) as results:
        path = picture(tmp_path)
        path.write_bytes(b"something else")
        with pytest.raises(UploadRefused, match="changed"):
            await results.store(path, FILE, Deadline.after(30))


async def test_a_bucket_takes_a_file_into_the_batchs_folder(tmp_path: Path, s3_server: S3Server) -> None:
    settings = Settings.from_environment({**s3_server.environment, "BUCKET_PREFIX": "runner"})
    async with open_results(welcome(kind="bucket"), pod("http://127.0.0.1:1", tmp_path), settings) as results:
        assert await store(results, tmp_path) == FILE
    there = s3_server.client.get_object(Bucket=BUCKET, Key=f"runner/b1/{FILE.name}")
    assert there["Body"].read() == CONTENT
    assert there["ContentType"] == "image/png"


@pytest.mark.parametrize(
    "told", [{}, {"kind": "bucket"}, {"kind": "http"}, {"kind": "http", "url": "ftp://x"}, {"kind": "pigeon"}]
)
async def test_a_place_that_cannot_be_used_is_told_at_once(tmp_path: Path, told: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="Results go to"):
        async with open_results(welcome(**told), pod("http://127.0.0.1:1", tmp_path), Settings()):
            pass
