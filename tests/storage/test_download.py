"""Downloads from real servers on the loopback network: what is fetched, resumed, refused, and left behind."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import hashlib
import json
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from comfypod.deadline import Deadline
from comfypod.errors import DeadlineExceeded, DownloadFailed, DownloadInterrupted
from comfypod.files.content import FileContent
from comfypod.storage.addresses import AddressPolicy
from comfypod.storage.download import ByteBudget, Downloaded, Downloader
from comfypod.storage.partial_file import BLOCK_BYTES, PartialFile
from comfypod.storage.safe_http import RemoteFile, SafeHTTP
from tests.storage.download_server import SEND_BYTES, ChangingResolver, DownloadServer, ServedFile, pattern, raw_server

CONTENT = pattern(3 * BLOCK_BYTES + 12_345)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LOOPBACK = AddressPolicy.from_lists("127.0.0.1", "")
PART_BYTES = 128 * 1024
SECRET = "hidden-token"

Fetch = Callable[..., Any]


def soon(seconds: float = 20.0) -> Deadline:
    return Deadline.after(seconds)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def server() -> AsyncIterator[DownloadServer]:
    async with DownloadServer().running() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[SafeHTTP]:
    async with SafeHTTP(LOOPBACK) as session:
        yield session


@pytest.fixture
def downloader(http: SafeHTTP) -> Downloader:
    return Downloader(http, attempts=3, smallest_part_bytes=PART_BYTES)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file.bin"


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def left_behind(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def ranges(server: DownloadServer) -> list[str | None]:
    return [seen.headers.get("range") for seen in server.seen]


# --- one stream ---


async def test_a_file_is_fetched_whole(server: DownloadServer, downloader: Downloader, target: Path) -> None:
    url = server.serve("/file", ServedFile(CONTENT, headers={"Content-Type": "image/png"}))
    told: list[tuple[int, int | None]] = []
    result = await downloader.fetch(url, target, soon(), on_bytes=lambda *count: told.append(count))
    assert result == Downloaded(len(CONTENT), SHA256, "image/png")
    assert content_of(target) == CONTENT
    assert left_behind(target) == ["file.bin"]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)


async def test_an_empty_file_is_a_file(server: DownloadServer, downloader: Downloader, target: Path) -> None:
    url = server.serve("/file", ServedFile(b""))
    for connections in (1, 4):
        result = await downloader.fetch(url, target, soon(), connections=connections)
        assert (result.size_bytes, result.sha256) == (0, hashlib.sha256().hexdigest())
        assert content_of(target) == b""


async def test_a_file_that_was_there_is_replaced_only_by_a_whole_one(
    server: DownloadServer, downloader: Downloader, target: Path
) -> None:
    write(target, b"old")
    with pytest.raises(DownloadFailed):
        await downloader.fetch(server.origin + "/missing", target, soon())
    assert content_of(target) == b"old"
    await downloader.fetch(server.serve("/file", ServedFile(CONTENT)), target, soon())
    assert content_of(target) == CONTENT


async def test_a_cut_download_goes_on_where_it_was(
    server: DownloadServer, downloader: Downloader, target: Path
) -> None:
    cut = 2 * BLOCK_BYTES
    url = server.serve("/file", ServedFile(CONTENT, cuts=[cut]))
    assert (await downloader.fetch(url, target, soon())).sha256 == SHA256
    assert content_of(target) == CONTENT
    first, second = server.seen
    start, last = map(int, second.headers["range"].removeprefix("bytes=").split("-"))
    assert cut - BLOCK_BYTES < start <= cut  # what aiohttp had not handed over when the connection broke is lost
    assert last == len(CONTENT) - 1
    assert second.headers["if-range"] == '"first"'
    assert "range" not in first.headers


async def test_a_date_serves_to_resume_where_the_etag_is_weak(
    server: DownloadServer, downloader: Downloader, target: Path
) -> None:
    date = "Wed, 01 Jan 2025 00:00:00 GMT"
    file = ServedFile(CONTENT, etag=None, cuts=[1000], headers={"ETag": 'W/"1"', "Last-Modified": date})
    url = server.serve("/file", file)
    assert (await downloader.fetch(url, target, soon())).sha256 == SHA256
    assert server.seen[1].headers["if-range"] == date


@pytest.mark.parametrize(
    "file", [ServedFile(CONTENT, ranges=False, cuts=[5000]), ServedFile(CONTENT, etag=None, cuts=[5000])]
)
async def test_a_source_without_ranges_is_read_from_the_start(
    server: DownloadServer, downloader: Downloader, target: Path, file: ServedFile
) -> None:
    budget = ByteBudget(len(CONTENT))  # the second reading is not charged again
    result = await downloader.fetch(server.serve("/file", file), target, soon(), budget=budget)
    assert (result.sha256, content_of(target) == CONTENT) == (SHA256, True)
    assert len(server.seen) == 2


async def test_a_source_that_always_breaks_off_is_given_up(
    server: DownloadServer, downloader: Downloader, target: Path
) -> None:
    url = server.serve("/file", ServedFile(CONTENT, ranges=False, cuts=[5000] * 9))
    with pytest.raises(DownloadInterrupted) as caught:
        await downloader.fetch(url, target, soon())
    assert caught.value.retryable
    assert len(server.seen) == 3
    assert left_behind(target) == []


@pytest.mark.parametrize("changed", [CONTENT[::-1] + b"more", CONTENT[-1000:]], ids=["longer", "shorter"])
async def test_content_that_changed_is_not_put_together(
    server: DownloadServer, downloader: Downloader, target: Path, changed: bytes
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        first = len(server.seen) == 1
        file = ServedFile(CONTENT, cuts=[2_000_000]) if first else ServedFile(changed, etag='"second"')
        return await file.answer(request)

    result = await downloader.fetch(server.handle("/file", answer), target, soon())
    assert content_of(target) == changed
    assert (result.size_bytes, result.sha256) == (len(changed), hashlib.sha256(changed).hexdigest())


@pytest.mark.parametrize(
    "lie", [{"ETag": '"second"'}, {"Content-Range": "bytes 7-9/10"}, {"Content-Range": "nonsense"}], ids=str
)
async def test_a_part_of_something_else_is_not_taken(
    server: DownloadServer, downloader: Downloader, target: Path, lie: dict[str, str]
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if len(server.seen) == 2:  # the source ignores If-Range
            rest = f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}"
            return web.Response(status=206, body=b"x" * 100, headers={"Content-Range": rest, "ETag": '"first"'} | lie)
        return await ServedFile(CONTENT, cuts=[1000] if len(server.seen) == 1 else []).answer(request)

    assert (await downloader.fetch(server.handle("/file", answer), target, soon())).sha256 == SHA256
    assert content_of(target) == CONTENT


# --- sizes that are not what they seem ---


async def test_a_body_shorter_than_announced_is_no_file(downloader: Downloader, target: Path) -> None:
    async with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x" * 900) as url:
        with pytest.raises(DownloadInterrupted, match="broke off"):
            await downloader.fetch(url, target, soon())
    assert left_behind(target) == []


async def test_a_body_longer_than_announced_is_no_file(downloader: Downloader, target: Path) -> None:
    async with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 5000) as url:
        with pytest.raises(DownloadFailed, match="not answer as HTTP"):
            await downloader.fetch(url, target, soon())
    assert left_behind(target) == []


async def test_a_part_longer_than_asked_for_is_cut(
    server: DownloadServer, downloader: Downloader, target: Path
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if len(server.seen) == 1:
            return await ServedFile(CONTENT, cuts=[1000]).answer(request)
        headers = {"Content-Range": f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}"}
        return web.Response(status=206, body=CONTENT[1000:] + b"x" * 1_000_000, headers=headers)

    assert (await downloader.fetch(server.handle("/file", answer), target, soon())).sha256 == SHA256
    assert content_of(target) == CONTENT


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65_536)


@pytest.mark.parametrize(
    "bound", [{"budget": ByteBudget(3_000_000)}, {"size_bytes": 3_000_000}], ids=["budget", "size"]
)
async def test_an_endless_body_ends_at_the_bound(
    server: DownloadServer, downloader: Downloader, target: Path, bound: dict[str, Any]
) -> None:
    largest = 0

    def look(received: int, _: int | None) -> None:
        nonlocal largest
        largest = max(largest, received)

    with pytest.raises(DownloadFailed, match="more than") as caught:
        await downloader.fetch(server.handle("/file", endless), target, soon(), on_bytes=look, **bound)
    assert caught.value.address == server.origin + "/file"
    assert 0 < largest <= 3_000_000
    assert left_behind(target) == []


async def test_an_announced_size_over_the_budget_is_refused_at_once(
    server: DownloadServer, downloader: Downloader, target: Path
) -> None:
    budget, told = ByteBudget(len(CONTENT) - 1), []
    url = server.serve("/file", ServedFile(CONTENT))
    with pytest.raises(DownloadFailed, match="more than"):
        await downloader.fetch(url, target, soon(), budget=budget, on_bytes=lambda *count: told.append(count))
    assert (budget.taken_bytes, told) == (0, [])


async def test_files_share_a_budget(server: DownloadServer, downloader: Downloader, tmp_path: Path) -> None:
    budget = ByteBudget(2 * len(CONTENT) + 1)
    url = server.serve("/file", ServedFile(CONTENT))
    fetches = [downloader.fetch(url, tmp_path / str(index), soon(), budget=budget) for index in range(3)]
    outcomes = await asyncio.gather(*fetches, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(Downloaded) == 2
    assert [type(outcome) for outcome in outcomes].count(DownloadFailed) == 1
    assert len(left_behind(tmp_path / "0")) == 2


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"size_bytes": len(CONTENT) + 1}], ids=["sha256", "size"])
@pytest.mark.parametrize("connections", [1, 3])
async def test_what_is_not_what_it_should_be_is_removed(
    server: DownloadServer, downloader: Downloader, target: Path, wrong: dict[str, Any], connections: int
) -> None:
    url = server.serve("/file", ServedFile(CONTENT))
    with pytest.raises(DownloadFailed, match="instead of") as caught:
        await downloader.fetch(url, target, soon(), connections=connections, keep_partial=True, **wrong)
    assert not caught.value.retryable
    assert left_behind(target) == []


async def test_what_it_should_be_may_be_written_in_capitals(
    server: DownloadServer, downloader: Downloader, target: Path
) -> None:
    url = server.serve("/file", ServedFile(CONTENT))
    await downloader.fetch(url, target, soon(), sha256=SHA256.upper(), size_bytes=len(CONTENT))


async def test_a_compressed_answer_is_refused(server: DownloadServer, downloader: Downloader, target: Path) -> None:
    bomb = ServedFile(gzip.compress(bytes(10_000_000)), headers={"Content-Encoding": "gzip"})
    with pytest.raises(DownloadFailed, match="compressed"):
        await downloader.fetch(server.serve("/bomb", bomb), target, soon())
    assert server.seen[0].headers["accept-encoding"] == "identity"
    assert left_behind(target) == []


# --- time ---


async def test_a_trickle_ends_with_the_deadline(server: DownloadServer, downloader: Downloader, target: Path) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.02)

    started = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        await downloader.fetch(server.handle("/file", trickle), target, soon(0.5))
    assert time.monotonic() - started < 10
    assert caught.value.phase == "download"
    assert left_behind(target) == []


async def test_a_source_that_falls_silent_is_given_up(target: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx"
    async with SafeHTTP(LOOPBACK, idle_timeout_seconds=0.2) as http, raw_server(head, stay=True) as url:
        with pytest.raises(DownloadInterrupted, match="nothing for too long"):
            await Downloader(http, attempts=1).fetch(url, target, soon())
    assert left_behind(target) == []


# --- statuses ---


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 416, 451])
async def test_a_refusal_is_final(server: DownloadServer, downloader: Downloader, target: Path, status: int) -> None:
    url = server.serve("/file", ServedFile(CONTENT, answers=[(status, {})] * 3))
    with pytest.raises(DownloadFailed, match=f"HTTP {status}") as caught:
        await downloader.fetch(url, target, soon())
    assert not caught.value.retryable
    assert len(server.seen) == 1
    assert left_behind(target) == []


@pytest.mark.parametrize(("status", "connections"), [(408, 1), (429, 1), (500, 1), (503, 1), (503, 3)])
async def test_a_busy_source_is_asked_again(
    server: DownloadServer, downloader: Downloader, target: Path, status: int, connections: int
) -> None:
    url = server.serve("/file", ServedFile(CONTENT, answers=[(status, {})]))
    assert (await downloader.fetch(url, target, soon(), connections=connections)).sha256 == SHA256


async def test_a_source_that_stays_busy_is_given_up(
    server: DownloadServer, downloader: Downloader, target: Path
) -> None:
    url = server.serve("/file", ServedFile(CONTENT, answers=[(503, {})] * 9))
    with pytest.raises(DownloadInterrupted, match="HTTP 503"):
        await downloader.fetch(url, target, soon())
    assert len(server.seen) == 3


async def test_retry_after_is_waited_for(server: DownloadServer, downloader: Downloader, target: Path) -> None:
    url = server.serve("/file", ServedFile(CONTENT, answers=[(429, {"Retry-After": "1"})]))
    started = time.monotonic()
    await downloader.fetch(url, target, soon())
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize("value", ["3600", "Fri, 31 Dec 2999 23:59:59 GMT"])
async def test_a_retry_after_beyond_all_patience_is_not_waited_for(
    server: DownloadServer, downloader: Downloader, target: Path, value: str
) -> None:
    url = server.serve("/file", ServedFile(CONTENT, answers=[(429, {"Retry-After": value})]))
    with pytest.raises(DownloadInterrupted, match="HTTP 429"):
        await downloader.fetch(url, target, soon())
    assert len(server.seen) == 1


@pytest.mark.parametrize("value", ["-1", "soon", "Wed, 01 Jan 2025 00:00:00 GMT", ""])
async def test_a_retry_after_that_means_nothing_is_passed_over(
    server: DownloadServer, downloader: Downloader, target: Path, value: str
) -> None:
    url = server.serve("/file", ServedFile(CONTENT, answers=[(429, {"Retry-After": value})]))
    await downloader.fetch(url, target, soon())


# --- where it leads ---


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/file",
        "http://2130706433:{port}/file",
        "http://0x7f.1:{port}/file",
        "http://[::ffff:127.0.0.1]:{port}/file",
        "http://localhost:{port}/file",
        "http://localhost.:{port}/file",
    ],
)
async def test_nothing_private_is_reached_without_an_allow_list(server: DownloadServer, target: Path, url: str) -> None:
    server.serve("/file", ServedFile(CONTENT))
    async with SafeHTTP(AddressPolicy.from_lists("", "")) as http:
        with pytest.raises(DownloadFailed, match=r"not public|no host of this name"):
            await Downloader(http).fetch(url.format(port=server.port), target, soon())
    assert server.seen == []


async def test_an_allowed_address_is_reached_in_any_notation(
    server: DownloadServer, downloader: Downloader, target: Path
) -> None:
    server.serve("/file", ServedFile(CONTENT))
    await downloader.fetch(f"http://0x7f.1:{server.port}/file", target, soon())
    assert server.seen[0].headers["host"] == f"127.0.0.1:{server.port}"


async def test_the_address_that_was_checked_is_connected_to(server: DownloadServer, target: Path) -> None:
    """The name's second answer is an address where another server waits at the same port."""
    resolver = ChangingResolver(["127.0.0.1"], ["127.0.0.2"])
    async with DownloadServer("127.0.0.2").running(server.port) as inner, SafeHTTP(LOOPBACK, resolver) as http:
        for each in (server, inner):
            each.serve("/file", ServedFile(CONTENT, headers={"Connection": "close"}))
        url = f"http://rebinding.example:{server.port}/file"
        await Downloader(http).fetch(url, target, soon())
        assert resolver.asked == ["rebinding.example"]
        with pytest.raises(DownloadFailed, match="not among"):
            await Downloader(http).fetch(url, target, soon())
        assert resolver.asked == ["rebinding.example"] * 2
        assert (len(server.seen), inner.seen) == (1, [])


async def test_one_forbidden_address_of_a_name_is_enough(server: DownloadServer, target: Path) -> None:
    async with SafeHTTP(LOOPBACK, ChangingResolver(["127.0.0.1", "127.0.0.2"])) as http:
        with pytest.raises(DownloadFailed, match="not among"):
            await Downloader(http).fetch(f"http://both.example:{server.port}/file", target, soon())
    assert server.seen == []


async def test_a_name_that_cannot_be_allowed_is_not_even_looked_up(target: Path) -> None:
    resolver = ChangingResolver(["127.0.0.1"])
    async with SafeHTTP(AddressPolicy.from_lists("files.example", ""), resolver) as http:
        with pytest.raises(DownloadFailed, match="not among"):
            await Downloader(http).fetch(f"http://{SECRET}.attacker.example/", target, soon())
    assert resolver.asked == []


async def test_a_name_that_does_not_exist_is_final(target: Path) -> None:
    async with SafeHTTP(AddressPolicy.from_lists("", "")) as http:
        with pytest.raises(DownloadFailed, match=r"no host of this name|could not be connected") as caught:
            await Downloader(http, attempts=1).fetch("http://nowhere.invalid/", target, soon())
    assert caught.value.address == "http://nowhere.invalid/"


async def test_a_port_where_nobody_listens_may_be_tried_later(server: DownloadServer, target: Path) -> None:
    async with SafeHTTP(LOOPBACK) as http, raw_server() as url:
        with pytest.raises(DownloadInterrupted, match="broke off"):
            await Downloader(http, attempts=1).fetch(url, target, soon())
    async with SafeHTTP(LOOPBACK) as http:
        with pytest.raises(DownloadInterrupted, match="could not be connected"):
            await Downloader(http, attempts=1).fetch(url, target, soon())


async def test_what_is_not_http_is_final(downloader: Downloader, target: Path) -> None:
    async with raw_server(b"SSH-2.0-OpenSSH_9.6\r\n") as url:
        with pytest.raises(DownloadFailed, match="HTTP") as caught:
            await downloader.fetch(f"{url}?{SECRET}", target, soon())
    assert not caught.value.retryable
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_a_name_service_that_does_not_answer_is_not_waited_for(target: Path) -> None:
    class SilentResolver(ChangingResolver):
        async def resolve(self, *_: Any, **__: Any) -> list[Any]:
            await asyncio.Event().wait()
            return []

    async with SafeHTTP(AddressPolicy.from_lists("", ""), SilentResolver(), connect_timeout_seconds=0.1) as http:
        with pytest.raises(DownloadInterrupted, match="connected to in time"):
            await Downloader(http, attempts=1).fetch("http://silent.example/", target, soon())


# --- redirects ---


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(
    server: DownloadServer, downloader: Downloader, target: Path, status: int
) -> None:
    server.serve("/b/file", ServedFile(CONTENT))
    url = server.redirect("/a/start", "../b/file?signature=%2F%7e", status)
    assert (await downloader.fetch(url, target, soon())).sha256 == SHA256
    assert server.seen[-1].path == "/b/file?signature=%2F%7e"


async def test_credentials_stay_with_their_origin(server: DownloadServer, downloader: Downloader, target: Path) -> None:
    """There, to another path, to another port, and back: the last two requests carry none."""
    headers = {"Authorization": f"Bearer {SECRET}", "Cookie": SECRET, "X-Api-Key": SECRET, "Accept": "image/png"}
    async with DownloadServer().running() as other:
        server.serve("/file", ServedFile(CONTENT))
        other.redirect("/hop", server.origin + "/file")
        server.redirect("/second", other.origin + "/hop")
        await downloader.fetch(server.redirect("/first", "/second"), target, soon(), headers=headers)
    first, second, back = server.seen
    for seen in (first, second):
        assert {seen.headers[name.lower()] for name in headers} == set(headers.values())
    for seen in (other.seen[0], back):
        assert SECRET not in str(seen)
        assert seen.headers["accept"] == "image/png"


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/file",
        "//127.0.0.2:{port}/file",
        "http://0x7f000002:{port}/file",
        "http://[::1]:{port}/file",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "http://user:secret@127.0.0.1:{port}/file",
        "http://127.0.0.1:{port}\\@127.0.0.2/",
        "http://127.0.0.1:99999/",
        "http://[::1",
    ],
)
async def test_a_redirect_is_checked_as_the_address_was(
    server: DownloadServer, downloader: Downloader, target: Path, location: str
) -> None:
    server.serve("/file", ServedFile(CONTENT))
    url = server.redirect("/start", location.format(port=server.port))
    with pytest.raises(DownloadFailed) as caught:
        await downloader.fetch(url, target, soon())
    assert not caught.value.retryable
    assert "secret" not in str(caught.value)
    assert [seen.path for seen in server.seen] == ["/start"]


async def test_a_redirect_to_a_name_is_resolved_and_checked(server: DownloadServer, target: Path) -> None:
    url = server.redirect("/start", f"http://inner.example:{server.port}/file")
    async with SafeHTTP(LOOPBACK, ChangingResolver(["127.0.0.2"])) as http:
        with pytest.raises(DownloadFailed, match="not among"):
            await Downloader(http).fetch(url, target, soon())


async def test_redirects_come_to_an_end(server: DownloadServer, downloader: Downloader, target: Path) -> None:
    with pytest.raises(DownloadFailed, match="more than 5 times"):
        await downloader.fetch(server.redirect("/loop", "/loop"), target, soon())
    assert len(server.seen) == 6


async def test_neither_cookies_nor_proxies_are_taken(
    server: DownloadServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with DownloadServer().running() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.origin)
        server.serve("/file", ServedFile(CONTENT, headers={"Set-Cookie": "session=1; Path=/"}))
        async with SafeHTTP(LOOPBACK, ChangingResolver(["127.0.0.1"])) as http:
            for _ in range(2):
                await Downloader(http).fetch(f"http://cookies.example:{server.port}/file", target, soon())
    assert (proxy.seen, len(server.seen)) == ([], 2)
    assert all("cookie" not in seen.headers for seen in server.seen)


# --- what is left behind ---


async def test_a_cancelled_download_leaves_nothing(
    server: DownloadServer, downloader: Downloader, target: Path
) -> None:
    file = ServedFile(CONTENT, hold_after=8 * SEND_BYTES)
    for connections in (1, 3):
        file.sent_bytes = 0
        fetch = asyncio.create_task(
            downloader.fetch(server.serve("/file", file), target, soon(), connections=connections)
        )
        await until(lambda: file.sent_bytes >= connections * 8 * SEND_BYTES)  # noqa: B023
        assert left_behind(target) == [".file.bin.partial"]
        fetch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetch
        assert left_behind(target) == []


async def test_a_kept_download_goes_on_later(server: DownloadServer, downloader: Downloader, target: Path) -> None:
    file = ServedFile(CONTENT, hold_after=2 * BLOCK_BYTES)
    url = server.serve("/file", file)
    written: list[int] = []
    fetch = asyncio.create_task(
        downloader.fetch(url, target, soon(), keep_partial=True, on_bytes=lambda count, _: written.append(count))
    )
    await until(lambda: bool(written))
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch
    assert left_behind(target) == [".file.bin.partial", ".file.bin.partial.json"]
    file.hold_after = None
    result = await downloader.fetch(f"{url}?token={SECRET}", target, soon(), keep_partial=True)
    assert result.sha256 == SHA256
    assert ranges(server) == [None, f"bytes={written[-1]}-{len(CONTENT) - 1}"]
    assert left_behind(target) == ["file.bin"]


async def interrupted(server: DownloadServer, target: Path) -> Path:
    """The journal of a download that was broken off after about half."""
    url = server.serve("/file", ServedFile(CONTENT, cuts=[1_500_000]))
    async with SafeHTTP(LOOPBACK) as http:
        with pytest.raises(DownloadInterrupted):
            await Downloader(http, attempts=1).fetch(f"{url}?token={SECRET}", target, soon(), keep_partial=True)
    server.seen.clear()
    return target.with_name(".file.bin.partial.json")


async def test_a_journal_holds_no_secrets(server: DownloadServer, target: Path) -> None:
    journal = await interrupted(server, target)
    assert SECRET not in journal.read_text()
    assert json.loads(journal.read_text())["parts"] == [[0, size_of_partial(target), len(CONTENT)]]


def size_of_partial(target: Path) -> int:
    return target.with_name(".file.bin.partial").stat().st_size


@pytest.mark.parametrize(
    "change",
    [
        {"source": "http://127.0.0.1/other"},
        {"size_bytes": len(CONTENT) - 1},
        {"parts": []},
        {"parts": [[0, 10, 20]]},
        {"parts": [[0, 3_000_000, len(CONTENT)]]},
        {"parts": [[0, len(CONTENT), len(CONTENT)]]},
        {"parts": [[0, -5, len(CONTENT)]]},
        {"parts": [[0, 5, 10], [20, 25, len(CONTENT)]]},
        {"parts": "all"},
        {"validator": None},
    ],
    ids=str,
)
async def test_a_journal_that_does_not_fit_is_not_believed(
    server: DownloadServer, downloader: Downloader, target: Path, change: dict[str, Any]
) -> None:
    journal = await interrupted(server, target)
    journal.write_text(json.dumps(json.loads(journal.read_text()) | change))
    result = await downloader.fetch(server.origin + "/file", target, soon(), keep_partial=True)
    assert (result.sha256, ranges(server)) == (SHA256, [None])


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff\xfe", b"[]", b"null"])
async def test_a_broken_journal_is_not_believed(
    server: DownloadServer, downloader: Downloader, target: Path, garbage: bytes
) -> None:
    (await interrupted(server, target)).write_bytes(garbage)
    assert (await downloader.fetch(server.origin + "/file", target, soon(), keep_partial=True)).sha256 == SHA256


async def test_a_kept_part_of_other_content_is_dropped(
    server: DownloadServer, downloader: Downloader, target: Path
) -> None:
    await interrupted(server, target)
    changed = ServedFile(CONTENT[::-1], etag='"second"')
    await downloader.fetch(server.serve("/file", changed), target, soon(), keep_partial=True)
    assert content_of(target) == changed.content


async def test_a_kept_part_is_not_used_by_who_did_not_ask_for_it(
    server: DownloadServer, downloader: Downloader, target: Path
) -> None:
    await interrupted(server, target)
    await downloader.fetch(server.origin + "/file", target, soon())
    assert ranges(server) == [None]
    assert left_behind(target) == ["file.bin"]


async def test_a_folder_that_is_missing_is_a_plain_failure(
    server: DownloadServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.serve("/file", ServedFile(CONTENT))
    with pytest.raises(DownloadFailed, match="could not be written") as caught:
        await downloader.fetch(url, tmp_path / "missing" / "file", soon())
    assert isinstance(caught.value.__cause__, FileNotFoundError)


async def test_a_link_in_the_way_is_not_followed(
    server: DownloadServer, downloader: Downloader, target: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "precious"
    outside.write_text("precious")
    target.with_name(".file.bin.partial").symlink_to(outside)
    with pytest.raises(DownloadFailed, match="could not be written"):
        await downloader.fetch(server.serve("/file", ServedFile(CONTENT)), target, soon())
    assert outside.read_text() == "precious"


def test_what_was_on_its_way_when_the_content_was_forgotten_is_not_written(target: Path, http: SafeHTTP) -> None:
    """A thread cannot be cancelled: its block may come after the file was begun anew, or closed."""
    partial = PartialFile(target, RemoteFile(http, "http://127.0.0.1/"), keep=False)
    partial.open(None)
    stale = partial.epoch
    partial.truncate()
    partial.write(0, bytearray(b"old"), stale)
    partial.write(0, bytearray(b"new"), partial.epoch)
    assert partial.digest() == hashlib.sha256(b"new").hexdigest()
    partial.close()
    for late in (lambda: partial.write(3, bytearray(b"late"), partial.epoch), lambda: partial.save("{}")):
        late()
    partial.open(None)
    partial.put_in_place()
    assert left_behind(target) == []


# --- parts ---


async def test_parts_are_fetched_at_the_same_time(server: DownloadServer, downloader: Downloader, target: Path) -> None:
    file = ServedFile(CONTENT, hold_after=SEND_BYTES)
    url = server.serve("/file", file)
    fetch = asyncio.create_task(downloader.fetch(url, target, soon(), connections=4, sha256=SHA256))
    await until(lambda: file.sent_bytes >= 4 * SEND_BYTES)  # all four have begun, none can end
    file.released.set()
    assert (await fetch).sha256 == SHA256
    assert content_of(target) == CONTENT
    starts = sorted(int(str(item).removeprefix("bytes=").split("-")[0]) for item in ranges(server)[1:])
    quarter = len(CONTENT) // 4
    assert [round(start / quarter) for start in starts] == [0, 1, 2, 3]


async def test_parts_that_break_off_go_on(server: DownloadServer, downloader: Downloader, target: Path) -> None:
    file = ServedFile(CONTENT, cuts=[1, 100_000, 300_000, 0, 200_000], answers=[(503, {})])
    result = await downloader.fetch(server.serve("/file", file), target, soon(), connections=4)
    assert (result.sha256, content_of(target) == CONTENT) == (SHA256, True)
    assert len(server.seen) >= 9


@pytest.mark.parametrize(
    "file", [ServedFile(CONTENT, ranges=False), ServedFile(CONTENT, etag=None)], ids=["ranges", "validator"]
)
async def test_without_ranges_or_validator_there_is_one_stream(
    server: DownloadServer, downloader: Downloader, target: Path, file: ServedFile
) -> None:
    url = server.serve("/file", file)
    assert (await downloader.fetch(url, target, soon(), connections=4)).sha256 == SHA256
    assert ranges(server) == ["bytes=0-0", None]


async def test_a_small_file_gets_one_connection(server: DownloadServer, downloader: Downloader, target: Path) -> None:
    url = server.serve("/file", ServedFile(b"small"))
    await downloader.fetch(url, target, soon(), connections=8)
    assert content_of(target) == b"small"
    assert len(server.seen) == 2


async def test_parts_of_content_that_changes_are_not_put_together(
    server: DownloadServer, downloader: Downloader, target: Path
) -> None:
    """Each part is of another version, until the download begins anew."""

    async def answer(request: web.Request) -> web.StreamResponse:
        number = min(len(server.seen), 4)
        content = CONTENT if number < 4 else CONTENT[::-1]
        return await ServedFile(content, etag=f'"{number}"').answer(request)

    result = await downloader.fetch(server.handle("/file", answer), target, soon(), connections=4)
    assert content_of(target) == CONTENT[::-1]
    assert result.sha256 == hashlib.sha256(CONTENT[::-1]).hexdigest()


async def test_a_refusal_of_one_part_ends_all(server: DownloadServer, downloader: Downloader, target: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await file.answer(request) if len(server.seen) != 3 else web.Response(status=403)

    file = ServedFile(CONTENT, hold_after=SEND_BYTES)
    with pytest.raises(DownloadFailed, match="HTTP 403"):
        await downloader.fetch(server.handle("/file", answer), target, soon(), connections=4)
    file.released.set()
    assert left_behind(target) == []


# --- processes ---

CHILD = """
import asyncio, json, resource, sys
from pathlib import Path
from comfypod.deadline import Deadline
from comfypod.errors import ComfyPodError
from comfypod.storage.addresses import AddressPolicy
from comfypod.storage.download import Downloader
from comfypod.storage.safe_http import SafeHTTP

def peak_kilobytes():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])

async def main(url, target, options, limit):
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    async with SafeHTTP(AddressPolicy.from_lists("127.0.0.1, localhost", "")) as http:
        before = peak_kilobytes()
        try:
            done = await Downloader(http, attempts=2, smallest_part_bytes=65536).fetch(
                url, Path(target), Deadline.after(60), **options)
            outcome = done.sha256
        except ComfyPodError as error:
            outcome = f"{type(error).__name__}: {error}"
    print(json.dumps({"outcome": outcome, "rise_kilobytes": peak_kilobytes() - before}))

asyncio.run(main(*json.loads(sys.argv[1])))
"""


@asynccontextmanager
async def child(
    url: str, target: Path, limit: int = 0, environment: Mapping[str, str] | None = None, **options: Any
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that fetches ``url``; it is killed in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, json.dumps([url, str(target), options, limit]),
        stdout=asyncio.subprocess.PIPE, env={**os.environ, **(environment or {})},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def outcome(process: asyncio.subprocess.Process) -> dict[str, Any]:
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return dict(json.loads(output))


@pytest.mark.parametrize("connections", [1, 4])
async def test_a_full_disk_is_told_and_left_clean(server: DownloadServer, target: Path, connections: int) -> None:
    """A limit on the size of files stands for the disk: writing fails in the middle in the same way."""
    url = server.serve("/file", ServedFile(CONTENT))
    async with child(url, target, limit=1_000_000, connections=connections, keep_partial=True) as process:
        told = (await outcome(process))["outcome"]
    assert told == f"DownloadFailed: {url}: it could not be written (File too large)"
    assert left_behind(target) == []


def kept_bytes(journal: Path) -> int:
    parts = json.loads(journal.read_bytes())["parts"] if journal.exists() else []
    return sum(position - start for start, position, _ in parts)


async def test_after_a_kill_the_parts_go_on(server: DownloadServer, downloader: Downloader, target: Path) -> None:
    content = pattern(16 * BLOCK_BYTES)
    file = ServedFile(content, pace_seconds=0.04)
    url = server.serve("/file", file)
    journal = target.with_name(".file.bin.partial.json")
    async with child(url, target, connections=4, keep_partial=True) as process:
        await until(lambda: kept_bytes(journal) >= 4 * BLOCK_BYTES)  # it is written once a second; the file takes more
        process.kill()
        await process.wait()
    assert process.returncode == -9
    kept = kept_bytes(journal)
    file.sent_bytes, file.pace_seconds = 0, 0.0
    result = await downloader.fetch(url, target, soon(), connections=4, keep_partial=True)
    assert (result.sha256, content_of(target) == content) == (hashlib.sha256(content).hexdigest(), True)
    assert file.sent_bytes == len(content) - kept
    assert left_behind(target) == ["file.bin"]


@pytest.mark.parametrize("connections", [1, 4])
async def test_memory_stays_flat(server: DownloadServer, target: Path, connections: int) -> None:
    block, blocks = pattern(BLOCK_BYTES), 200
    digest = hashlib.sha256()
    for _ in range(blocks):
        digest.update(block)

    async def answer(request: web.Request) -> web.StreamResponse:
        first, last = request.headers.get("Range", f"bytes=0-{blocks * BLOCK_BYTES - 1}")[6:].split("-")
        start, stop = int(first), int(last) + 1
        headers = {"Content-Range": f"bytes {start}-{last}/{blocks * BLOCK_BYTES}", "ETag": '"1"'}
        response = web.StreamResponse(status=206 if "Range" in request.headers else 200, headers=headers)
        response.content_length = stop - start
        await response.prepare(request)
        while start < stop:
            offset = start % BLOCK_BYTES
            piece = block[offset : offset + stop - start]
            await response.write(piece)
            start += len(piece)
        return response

    async with child(server.handle("/file", answer), target, connections=connections) as process:
        told = await outcome(process)
    assert told["outcome"] == digest.hexdigest()
    assert told["rise_kilobytes"] < 40_000


# --- TLS ---


@pytest.fixture
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for localhost that vouches for itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "comfypod test")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


async def test_certificates_are_checked_and_names_with_them(
    server: DownloadServer, certificate: Path, target: Path
) -> None:
    """Not trusted; trusted; trusted, but for another name; trusted, and leading credentials out of TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    trust = {"SSL_CERT_FILE": str(certificate)}
    server.serve("/file", ServedFile(CONTENT))
    async with DownloadServer().running(ssl_context=context) as secure:
        secure.serve("/file", ServedFile(CONTENT))
        secure.redirect("/down", server.origin + "/file")
        by_name = f"https://localhost:{secure.port}"
        async with child(f"{by_name}/file", target, environment={"SSL_CERT_FILE": "/dev/null"}) as process:
            assert "TLS certificate is not valid" in (await outcome(process))["outcome"]
        async with child(f"{by_name}/file", target, environment=trust) as process:
            assert (await outcome(process))["outcome"] == SHA256
        async with child(f"{secure.origin}/file", target, environment=trust) as process:
            assert "TLS certificate is not valid" in (await outcome(process))["outcome"]
        headers = {"Authorization": SECRET}
        async with child(f"{by_name}/down", target, environment=trust, headers=headers) as process:
            assert "from https to http" in (await outcome(process))["outcome"]
        assert server.seen == []
        async with child(f"{by_name}/down", target, environment=trust) as process:
            assert (await outcome(process))["outcome"] == SHA256


# --- uploads ---


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    path = tmp_path / "result.png"
    path.write_bytes(CONTENT)
    return path


def taking(server: DownloadServer, *statuses: int) -> str:
    """A URL where uploads are answered with these statuses, and then with 200."""
    left = list(statuses)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=left.pop(0) if left else 200)

    return server.handle("/put", answer) + "?X-Amz-Signature=%2F"


async def test_a_file_is_put_as_it_is(server: DownloadServer, http: SafeHTTP, upload: Path) -> None:
    await http.put_file(taking(server), FileContent(upload), "image/png", soon())
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.body == CONTENT) == ("PUT", "/put?X-Amz-Signature=%2F", True)
    assert (seen.headers["content-type"], seen.headers["content-length"]) == ("image/png", str(len(CONTENT)))
    assert "transfer-encoding" not in seen.headers


async def test_an_empty_file_is_put(server: DownloadServer, http: SafeHTTP, upload: Path) -> None:
    write(upload, b"")
    await http.put_file(taking(server), FileContent(upload), "text/plain", soon())
    assert (server.seen[0].headers["content-length"], server.seen[0].body) == ("0", b"")


async def test_a_busy_target_is_asked_again(server: DownloadServer, http: SafeHTTP, upload: Path) -> None:
    await http.put_file(taking(server, 503, 429), FileContent(upload), "image/png", soon())
    assert [seen.body == CONTENT for seen in server.seen] == [True] * 3


@pytest.mark.parametrize("status", [301, 307, 400, 403, 404])
async def test_a_target_that_refuses_is_final(
    server: DownloadServer, http: SafeHTTP, upload: Path, status: int
) -> None:
    with pytest.raises(DownloadFailed, match=f"HTTP {status}") as caught:
        await http.put_file(taking(server, status), FileContent(upload), "image/png", soon())
    assert (caught.value.address, caught.value.retryable) == (server.origin + "/put", False)
    assert len(server.seen) == 1


async def test_nothing_is_put_to_private_addresses(server: DownloadServer, upload: Path) -> None:
    async with SafeHTTP(AddressPolicy.from_lists("", "")) as http:
        with pytest.raises(DownloadFailed, match="not public"):
            await http.put_file(taking(server), FileContent(upload), "image/png", soon())
    assert server.seen == []


async def test_a_target_that_takes_nothing_is_given_up(upload: Path) -> None:
    write(upload, bytes(50_000_000))
    async with SafeHTTP(LOOPBACK, idle_timeout_seconds=0.2) as http, raw_server(stay=True) as url:
        with pytest.raises(DeadlineExceeded) as caught:
            await http.put_file(url, FileContent(upload), "image/png", soon(0.15))
        assert caught.value.phase == "upload"
        with pytest.raises(DownloadInterrupted, match="nothing moved"):
            await http._put_once(LOOPBACK.check_url(url), FileContent(upload), "image/png")


async def test_an_upload_may_be_slow(upload: Path) -> None:
    size_bytes = 16 * BLOCK_BYTES
    write(upload, bytes(size_bytes))

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(16):
            await reader.readexactly(BLOCK_BYTES)
            await asyncio.sleep(0.125)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    started = time.monotonic()
    slow = await asyncio.start_server(take, "127.0.0.1", 0)
    async with slow, SafeHTTP(LOOPBACK, idle_timeout_seconds=1.5) as http:
        port = slow.sockets[0].getsockname()[1]
        await http._put_once(LOOPBACK.check_url(f"http://127.0.0.1:{port}/"), FileContent(upload), "image/png")
    assert time.monotonic() - started > 1.5


async def test_a_file_that_is_missing_cannot_be_put(server: DownloadServer, http: SafeHTTP, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="could not be read"):
        await http.put_file(taking(server), FileContent(tmp_path / "missing"), "image/png", soon())
