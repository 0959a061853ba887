"""ComfyUI's page through the proxy: streamed both ways, only for whoever signs in, and honest while ComfyUI is down."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, WSServerHandshakeError, encode_basic_auth, web
from yarl import URL

from comfypod.pod.page import ComfyUIPage
from comfypod.pod.relay import Backlog, TooSlow
from comfypod.pod.sign_in import SignIn

PASSWORD = "0123456789abcdef"
COMPRESSED = gzip.compress(b"a workflow")
SECONDS = 10.0


class StandIn:
    """Stands for ComfyUI: what a server can do, as far as a proxy may get it wrong."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.go_on = asyncio.Event()
        self.was_left = asyncio.Event()
        self.steps: list[str] = []
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        self.port = 0

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        answers = {"/parts": self._in_parts, "/cut": self._cut, "/ws": self._socket}
        if request.path in answers:
            return await answers[request.path](request)
        if request.path == "/compressed":
            return web.Response(body=COMPRESSED, headers={"Content-Encoding": "gzip"}, content_type="text/plain")
        if request.path == "/moved":
            raise web.HTTPFound("/elsewhere")
        self.bodies.append(await request.content.read())
        return web.Response(status=207, text="as it is", headers={"X-Own": "1", "Set-Cookie": "own=1"})

    async def _in_parts(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.was_left.set()
            raise
        await response.write(b"second")
        return response

    async def _cut(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        name = f"{request.query.get('clientId')}{len(self.requests)}"
        socket = web.WebSocketResponse(protocols=["comfy"], max_msg_size=0)
        await socket.prepare(request)
        self.steps.append(f"{name} came")
        await socket.send_str(name)
        async for message in socket:
            if message.data == "large":
                await socket.send_bytes(bytes(5_000_000))
            elif message.data == "flood":
                for _ in range(40):
                    await socket.send_bytes(bytes(1_000_000))
                self.go_on.set()
            elif message.data == "leave":
                break
            else:
                await socket.send_str(f"{name} heard {message.data}")
        self.steps.append(f"{name} left")
        return socket


class Browser:
    """Asks the page for something; signed in unless told otherwise."""

    def __init__(self, address: str, session: aiohttp.ClientSession) -> None:
        self.address = address
        self.session = session
        self.sign_in = {"Authorization": encode_basic_auth("me", PASSWORD)}

    def get(self, path: str, **headers: str) -> Any:
        return self.session.get(self.address + path, headers={**self.sign_in, **headers}, allow_redirects=False)

    def socket(self, client_id: str = "c", **headers: str) -> Any:
        url = f"{self.address}/ws?clientId={client_id}"
        return self.session.ws_connect(url, headers={**self.sign_in, **headers}, max_msg_size=0, protocols=["comfy"])


@pytest.fixture
async def comfyui() -> AsyncIterator[StandIn]:
    stand_in = StandIn()
    await stand_in.start()
    yield stand_in
    await stand_in.stop()


@pytest.fixture
async def browser(comfyui: StandIn) -> AsyncIterator[Browser]:
    page = ComfyUIPage(f"http://127.0.0.1:{comfyui.port}", SignIn(PASSWORD, "page"))
    await page.start("127.0.0.1", 0)
    timeout = aiohttp.ClientTimeout(SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as it:
        yield Browser(f"http://127.0.0.1:{page.port}", it)
    await page.stop()
    await page.stop()


async def test_nobody_comes_in_without_the_password(browser: Browser, comfyui: StandIn) -> None:
    for authorization in ("", encode_basic_auth("me", "wrong"), f"Bearer {PASSWORD}"):
        async with browser.get("/", Authorization=authorization) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"].startswith('Basic realm="ComfyUI')
            assert "Set-Cookie" not in response.headers
    with pytest.raises(WSServerHandshakeError) as refusal:
        await browser.socket(Authorization="")
    assert refusal.value.status == 401
    assert comfyui.requests == []


async def test_the_cookie_of_the_first_answer_opens_the_websocket(browser: Browser) -> None:
    async with browser.get("/", **{"X-Forwarded-Proto": "https"}) as response:
        cookie = response.headers.getall("Set-Cookie")[-1]
        assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict; Secure")
        assert response.headers["X-Frame-Options"] == "SAMEORIGIN"
    browser.sign_in = {"Cookie": cookie.partition(";")[0]}
    async with browser.socket(Origin=browser.address) as socket:
        assert await socket.receive_str() == "c2"
    async with browser.get("/") as response:
        assert response.headers.getall("Set-Cookie") == ["own=1"], "one sign-in is enough"


async def test_a_page_of_another_site_gets_nothing(browser: Browser, comfyui: StandIn) -> None:
    with pytest.raises(WSServerHandshakeError) as refusal:
        await browser.socket(Origin="https://evil.example")
    assert refusal.value.status == 403
    async with browser.session.post(
        f"{browser.address}/prompt", json={}, headers={**browser.sign_in, "Origin": "https://evil.example"}
    ) as response:
        assert response.status == 403
    assert comfyui.requests == []


async def test_a_request_arrives_as_it_was_sent_but_for_what_is_the_proxys(browser: Browser, comfyui: StandIn) -> None:
    path = "/api/userdata/workflows%2Fa%20b.json?x=%2F&x=2"
    headers = {
        **browser.sign_in,
        "Cookie": "page=guess; own=1",
        "Origin": browser.address,
        "Sec-Fetch-Site": "same-origin",
        "Sec-Fetch-Dest": "image",
    }
    size = 3_000_000
    url = URL(browser.address + path, encoded=True)
    async with browser.session.post(url, data=io.BytesIO(bytes(size)), headers=headers) as response:
        assert (response.status, await response.text()) == (207, "as it is")
        assert response.headers["X-Own"] == "1"
        assert response.headers.getall("Set-Cookie")[0] == "own=1"
    (request,) = comfyui.requests
    assert (request.method, request.raw_path) == ("POST", path)
    assert comfyui.bodies == [bytes(size)]
    assert request.headers["Content-Length"] == str(size)
    assert request.headers["Host"] == f"127.0.0.1:{comfyui.port}"
    assert (request.headers["Cookie"], request.headers["Sec-Fetch-Dest"]) == ("own=1", "image")
    assert not {"Authorization", "Origin", "Sec-Fetch-Site"} & set(request.headers)


async def test_answers_are_neither_unpacked_nor_followed(browser: Browser) -> None:
    async with browser.get("/compressed") as response:
        assert (response.headers["Content-Encoding"], await response.read()) == ("gzip", COMPRESSED)
    async with browser.get("/moved") as response:
        assert (response.status, response.headers["Location"]) == (302, "/elsewhere")
    async with browser.session.head(f"{browser.address}/compressed", headers=browser.sign_in) as response:
        assert (response.status, response.headers["Content-Length"]) == (200, str(len(COMPRESSED)))


async def test_answers_are_passed_on_as_they_come(browser: Browser, comfyui: StandIn) -> None:
    async with browser.get("/parts") as response:
        assert await response.content.readany() == b"first"
        comfyui.go_on.set()
        assert await response.read() == b"second"


async def test_uploads_are_passed_on_as_they_come(browser: Browser, comfyui: StandIn) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"first"
        async with asyncio.timeout(SECONDS):
            while not comfyui.requests:
                await asyncio.sleep(0.01)
        yield b"second"

    async with browser.session.post(f"{browser.address}/upload", data=parts(), headers=browser.sign_in) as response:
        assert response.status == 207
    assert comfyui.bodies == [b"firstsecond"]


async def test_what_is_sent_compressed_arrives_as_it_was(browser: Browser, comfyui: StandIn) -> None:
    headers = {**browser.sign_in, "Content-Encoding": "gzip"}
    async with browser.session.post(f"{browser.address}/upload", data=COMPRESSED, headers=headers) as response:
        assert response.status == 207
    assert comfyui.bodies == [b"a workflow"], "unpacked once, by ComfyUI"


async def test_what_nobody_waits_for_any_more_is_given_up(browser: Browser, comfyui: StandIn) -> None:
    async with browser.get("/parts") as response:
        await response.content.readany()
        response.close()
    async with asyncio.timeout(SECONDS):
        await comfyui.was_left.wait()


async def test_half_an_answer_does_not_look_whole(browser: Browser) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        async with browser.get("/cut") as response:
            await response.read()


async def test_while_comfyui_is_down_the_page_says_so_and_looks_again(browser: Browser, comfyui: StandIn) -> None:
    await comfyui.stop()
    async with browser.get("/", Accept="text/html,*/*") as response:
        assert (response.status, response.content_type) == (503, "text/html")
        assert 'http-equiv="refresh"' in await response.text()
    async with browser.get("/queue") as response:
        assert (response.status, response.content_type) == (503, "text/plain")
    with pytest.raises(WSServerHandshakeError) as refusal:
        await browser.socket()
    assert refusal.value.status == 503


@pytest.mark.parametrize("target", ["http://evil.example/", "@evil.example/", "*"])
async def test_no_address_leads_to_another_host(browser: Browser, comfyui: StandIn, target: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(browser.address.rpartition(":")[2]))
    sign_in = browser.sign_in["Authorization"]
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: {sign_in}\r\n\r\n".encode())
    async with asyncio.timeout(SECONDS):
        assert b" 400 " in await reader.readline()
    writer.close()
    assert comfyui.requests == []


async def test_messages_go_both_ways_whatever_their_size(browser: Browser) -> None:
    async with browser.socket() as socket:
        assert socket.protocol == "comfy"
        assert await socket.receive_str() == "c1"
        await socket.send_str("something")
        assert await socket.receive_str() == "c1 heard something"
        await socket.send_str("large")
        assert len(await socket.receive_bytes()) == 5_000_000
        await socket.send_str("leave")
        ended = await socket.receive()
    assert (ended.type, ended.data) == (WSMsgType.CLOSE, 1012), "the page then connects again"


async def test_comfyui_sees_the_older_connection_of_a_client_end_before_the_newer_comes(
    browser: Browser, comfyui: StandIn
) -> None:
    async with browser.socket() as older:
        assert await older.receive_str() == "c1"
        async with browser.socket() as newer, browser.socket("d") as another:
            assert await newer.receive_str() == "c2"
            assert await another.receive_str() == "d3"
            await newer.send_str("still there")
            assert await newer.receive_str() == "c2 heard still there"
            assert not older.closed, "else its page would connect again, and drive out the newer one"
    assert comfyui.steps[:4] == ["c1 came", "c1 left", "c2 came", "d3 came"]


async def test_a_browser_that_reads_nothing_does_not_hold_up_comfyui(browser: Browser, comfyui: StandIn) -> None:
    async with browser.socket() as socket:
        await socket.send_str("flood")
        async with asyncio.timeout(SECONDS):
            await comfyui.go_on.wait()
        assert await socket.receive_str() == "c1"
        assert sum([len(await socket.receive_bytes()) for _ in range(40)]) == 40_000_000


async def test_a_browser_that_does_not_keep_up_is_left_behind() -> None:
    backlog = Backlog(limit_bytes=10)
    message = aiohttp.WSMessage(WSMsgType.BINARY, bytes(5), None)
    backlog.add(message)
    backlog.add(message)
    with pytest.raises(TooSlow):
        backlog.add(message)
    assert await backlog.take() is message
