"""Files that come and go: uploads within their limits, results with ranges, nothing that a browser would run."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession, web

from comfypod.web.site.file_answers import FileAnswer
from comfypod.web.site.headers import of_file
from comfypod.web.site.options import Limits
from tests.cli.conftest import SECONDS, ScriptedEndpoint, artifact, success
from tests.web.server.conftest import RUN, OpenSite, Site, Visitor

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x03\0\0\0\x02\x08\2\0\0\0"
OF_FILES = "sandbox; default-src 'none'; "


async def upload(visitor: Visitor, content: object, status: int, name: str = "a.png", **headers: str) -> dict:
    sent = {"Content-Type": "image/png", **headers}
    async with visitor.ask("POST", f"api/uploads?name={name}", data=content, headers=sent) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def result_of(visitor: Visitor, endpoint: ScriptedEndpoint, *artifacts: dict) -> dict:
    """A run that made these files."""
    endpoint.script = (success(*artifacts),)
    run = await visitor.json("POST", "api/runs", 201, RUN)
    ended = await visitor.ended(run["id"])
    assert ended["state"] == "succeeded", ended
    return ended


async def test_what_was_sent_is_seen_again(site: Site) -> None:
    browser = await site.browser()
    document = await upload(browser, PNG, 201)
    assert {**document, "id": ""} == {
        "id": "",
        "name": "a.png",
        "content_type": "image/png",
        "size_bytes": len(PNG),
        "width": 3,
        "height": 2,
    }
    async with browser.ask("GET", f"api/uploads/{document['id']}") as answer:
        assert await answer.read() == PNG
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["Content-Security-Policy"].startswith(OF_FILES)


@pytest.mark.parametrize(
    "name", ["../../evil.html", "%00", "%2e%2e%2f", "<script>", "a%0d%0aSet-Cookie:x=1", "%ff", ""]
)
async def test_a_name_is_only_a_name(site: Site, name: str, tmp_path: Path) -> None:
    browser = await site.browser()
    document = await upload(browser, b"<script>alert(1)</script>", 201, name, **{"Content-Type": "text/html"})
    assert not set(document["name"]) & set("/\\<>\r\n\0")
    async with browser.ask("GET", f"api/uploads/{document['id']}") as answer:
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment; ")
        assert "Set-Cookie" not in answer.headers
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


async def test_an_upload_over_the_limit_is_refused_at_once(open_site: OpenSite) -> None:
    site = await open_site(limits=Limits(upload_bytes=1000))
    browser = await site.browser()
    await upload(browser, b"x" * 1000, 201)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100
            await asyncio.sleep(0)

    for content in (b"x" * 1001, endless()):
        error = (await upload(browser, content, 413))["error"]
        assert (error["code"], error["details"]["limit_bytes"]) == ("too_large", 1000)
    assert not list(Path(site.server.url).glob("*.partial"))


async def test_what_breaks_off_or_stops_leaves_nothing(open_site: OpenSite, tmp_path: Path) -> None:
    site = await open_site(limits=Limits(silence_seconds=0.2))
    browser = await site.browser()

    async def stopping() -> AsyncIterator[bytes]:
        yield b"x" * 100
        await asyncio.sleep(SECONDS)

    async def breaking() -> AsyncIterator[bytes]:
        yield b"x" * 100
        raise ConnectionAbortedError

    assert (await upload(browser, stopping(), 504))["error"]["code"] == "deadline_exceeded"
    with pytest.raises((ClientError, ConnectionError)):
        await upload(browser, breaking(), 201)
    deadline = asyncio.get_running_loop().time() + SECONDS
    while list(tmp_path.glob("data/visitors/*/uploads/*")):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


async def test_who_says_nothing_is_not_waited_for(open_site: OpenSite) -> None:
    site = await open_site(limits=Limits(silence_seconds=0.2))
    for words in (b"", b"GET /health HTTP/1.1\r\nHost: 127.0", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /"):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
        writer.write(words)
        async with asyncio.timeout(SECONDS):
            await reader.read()  # until the server closes it
        writer.close()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "bad_request"),
        (b"{", 400, "bad_request"),
        (b"[]", 400, "bad_request"),
        (b"\xff", 400, "bad_request"),
        (b'{"workflow": NaN}', 400, "bad_request"),
        (b"[" * 100_000, 400, "bad_request"),
        (b'{"a":' * 150 + b"1" + b"}" * 150, 400, "bad_request"),
        (b'{"workflow": "text_to_image", "other": 1}', 400, "invalid_job_input"),
        (b'{"workflow": "none_such"}', 400, "invalid_job_input"),
        (b'{"workflow": "../../etc/passwd"}', 400, "invalid_job_input"),
        (b'{"a": "' + b"x" * 8 * 1024**2 + b'"}', 413, "too_large"),
    ],
)
async def test_a_body_that_is_none_is_refused_with_a_sentence(site: Site, body: bytes, status: int, code: str) -> None:
    browser = await site.browser()
    async with browser.ask(
        "POST", "api/runs", data=BytesIO(body), headers={"Content-Type": "application/json"}
    ) as answer:
        assert answer.status == status
        error = (await answer.json())["error"]
    assert error["code"] == code
    assert error["message"]


async def test_a_compressed_body_is_not_unpacked(site: Site) -> None:
    browser = await site.browser()
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with browser.ask("POST", "api/runs", data=gzip.compress(b"{}" * 1_000_000), headers=headers) as answer:
        assert answer.status == 415


async def test_a_result_has_ranges_and_is_not_sent_twice(site: Site, endpoint: ScriptedEndpoint) -> None:
    browser = await site.browser()
    run = await result_of(browser, endpoint, artifact(b"0123456789", "fox ä.png"))
    url = run["outputs"][0]["url"]
    async with browser.ask("GET", url) as answer:
        assert await answer.read() == b"0123456789"
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert answer.headers["Content-Security-Policy"].startswith(OF_FILES)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Disposition"].startswith(
            "inline; filename=\"fox _.png\"; filename*=UTF-8''fox%20"
        )
        tag = answer.headers["ETag"]
    async with browser.ask("GET", f"{url}?download=1", headers={"Range": "bytes=2-4"}) as answer:
        assert (answer.status, await answer.read()) == (206, b"234")
        assert answer.headers["Content-Range"] == "bytes 2-4/10"
        assert answer.headers["Content-Disposition"].startswith("attachment; ")
    async with browser.ask("GET", url, headers={"Range": "bytes=10-"}) as answer:
        assert answer.status == 416
    async with browser.ask("GET", url, headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304
    async with browser.ask("HEAD", url) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, "10")
    for path in ("files/1/a.png", "files/999999/a.png"):
        assert (await browser.refusal("GET", f"api/runs/{run['id']}/{path}", 404))["code"] == "file_not_found"
    assert (await browser.refusal("GET", f"api/runs/{run['id']}/files/-1/a", 400))["code"] == "bad_request"


@pytest.mark.parametrize(
    ("filename", "content_type"),
    [
        ("a.html", "text/html"),
        ("a.svg", "image/svg+xml"),
        ("a.js", "text/javascript"),
        ("a.png", "text/html; charset=utf-8"),
        ("a.xml", "application/xhtml+xml"),
        ("a.pdf", "application/pdf"),
        ("a.png", "image/png\r\nX-Evil: 1"),
        ("a.png", ""),
    ],
)
async def test_what_a_browser_would_run_is_only_saved(
    site: Site, endpoint: ScriptedEndpoint, filename: str, content_type: str
) -> None:
    browser = await site.browser()
    run = await result_of(browser, endpoint, artifact(b"<script>", filename, content_type=content_type))
    async with browser.ask("GET", run["outputs"][0]["url"]) as answer:
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment; ")
        assert answer.headers["Content-Security-Policy"].startswith(OF_FILES)
        assert "X-Evil" not in answer.headers


def test_every_name_fits_into_a_header() -> None:
    for name in ('a"b\r\nc', "\udcff", "日本語.png", "a;b=c", "%00", ""):
        header = of_file(name, "image/png", as_download=False)["Content-Disposition"]
        assert header.isascii()
        assert header.isprintable()
        assert header.count('"') == 2


@pytest.fixture
async def folder_url(tmp_path: Path) -> AsyncIterator[str]:
    """A server of the files in a folder, and hardly any patience."""

    async def answer(request: web.Request) -> web.StreamResponse:
        path = tmp_path / request.match_info["name"]
        return FileAnswer(path, 0, {"Content-Type": "image/png"}, patience_seconds=0.3)

    application = web.Application()
    application.router.add_get("/{name}", answer)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_the_file_that_was_asked_for_is_sent_and_no_other(folder_url: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"the right one")
    (tmp_path / "a.png.gz").write_bytes(gzip.compress(b"another"))
    headers = {"Accept-Encoding": "gzip", "X-Strange": "\u00ff"}
    async with ClientSession() as http, http.get(f"{folder_url}/a.png", headers=headers) as answer:
        assert await answer.read() == b"the right one"


async def test_whoever_takes_a_file_too_slowly_is_cut_off(folder_url: str, tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(64 * 1024**2)
    async with ClientSession() as http, http.get(f"{folder_url}/large") as answer:
        assert answer.status == 200
        await asyncio.sleep(1.0)  # takes nothing; the file is larger than all buffers on the way
        with pytest.raises(ClientError):
            await answer.read()
