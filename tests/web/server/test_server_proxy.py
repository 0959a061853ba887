"""The page behind a reverse proxy, which brings HTTPS and a path, and either passes the path on or takes it away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.cli.conftest import SECONDS
from tests.web.server.conftest import RUN, TOKEN, OpenSite, Site, Visitor

NAME = "pictures.example"
OUTSIDE = {"Host": NAME, "Origin": f"https://{NAME}", "Sec-Fetch-Site": "same-origin"}


@dataclass
class Proxy:
    """As nginx and Caddy do it; ``target`` is what stands in place of the path that it is asked for."""

    target: str
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        headers = request.headers.copy()
        headers.update({"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"})
        url = self.target + request.raw_path.removeprefix("/pictures/")
        async with (
            aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as http,
            http.request(
                request.method, URL(url, encoded=True), headers=headers, data=request.content, allow_redirects=False
            ) as answer,
        ):
            response = web.StreamResponse(status=answer.status, headers=answer.headers)
            response.headers.pop("Transfer-Encoding", None)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response


@pytest.fixture(params=["passes the path on", "takes the path away"])
async def proxied(request: pytest.FixtureRequest, open_site: OpenSite) -> AsyncIterator[tuple[Site, Proxy]]:
    """A server, and the proxy in front of it."""
    base_path = "/pictures/" if request.param == "passes the path on" else "/"
    site = await open_site(base_path=base_path, token=TOKEN, trusts_proxy=True, allowed_hosts=(NAME,))
    proxy = Proxy(site.server.url)
    application = web.Application()
    application.router.add_route("*", "/pictures/{path:.*}", proxy.answer)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}/pictures/"
    yield site, proxy
    await runner.cleanup()


async def test_the_page_works_from_sign_in_to_picture(proxied: tuple[Site, Proxy]) -> None:
    _, proxy = proxied
    jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=URL(proxy.url).origin())
    timeout = aiohttp.ClientTimeout(SECONDS)
    async with aiohttp.ClientSession(cookie_jar=jar, timeout=timeout) as http:
        browser = Visitor(proxy, http, OUTSIDE)
        async with browser.ask("GET", "") as answer:
            assert answer.status == 200
        async with browser.ask("GET", "api/session") as answer:
            assert "; Secure" in answer.headers["Set-Cookie"]
        await browser.json("POST", "api/session", 204, {"token": TOKEN})
        async with browser.ask("GET", "api/events") as answer:
            assert (await answer.content.readuntil(b"\n\n")).startswith(b"event: runs\n")
            run = await browser.json("POST", "api/runs", 201, RUN)
            assert b'"id":"' + run["id"].encode() in await answer.content.readuntil(run["id"].encode())
        ended = await browser.ended(run["id"])
        async with browser.ask("GET", ended["outputs"][0]["url"]) as answer:
            assert await answer.read() == b"a picture"
        error = await browser.refusal("POST", "api/runs", 403, RUN, Origin="https://evil.example")
        assert error["code"] == "foreign_request"


async def test_without_signing_in_there_is_nothing(proxied: tuple[Site, Proxy]) -> None:
    site, proxy = proxied
    browser = await site.browser(is_new=True)
    browser.server, browser.headers = proxy, OUTSIDE
    await browser.refusal("GET", "api/runs", 401)
    await browser.refusal("GET", "api/runs", 421, Host="evil.example")
