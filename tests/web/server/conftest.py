"""The page's server in the test's own process, and browsers and programs that ask it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comfypod import Client
from comfypod.web.runs.service import Runs, RunsOptions
from comfypod.web.site.options import SiteOptions
from comfypod.web.site.server import WebServer
from comfypod.web.site.sessions import load_key
from tests.cli.conftest import SECONDS, ScriptedEndpoint

ROOT = Path(__file__).parents[3]
API_KEY = "s3cret-key"
TOKEN = "0123456789abcdef-token"
RUN = {"workflow": "text_to_image", "parameters": {"prompt": "a red barn"}}
OF_THE_PAGE = {"Sec-Fetch-Site": "same-origin"}
"""What a browser tells of a request that the page makes."""


@dataclass
class Visitor:
    """Somebody who asks the server; a browser keeps its cookies."""

    server: WebServer
    http: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def ask(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {**self.headers, **options.pop("headers", {})}
        url = self.server.url + path
        async with self.http.request(method, url, headers=headers, allow_redirects=False, **options) as answer:
            yield answer

    async def get(self, path: str, status: int = 200) -> Any:
        return await self.json("GET", path, status)

    async def json(self, method: str, path: str, status: int, document: Any = None, **headers: str) -> Any:
        """The document that is answered."""
        options = {} if document is None else {"json": document}
        async with self.ask(method, path, headers=headers, **options) as answer:
            text = await answer.text()
            assert answer.status == status, text
            return json.loads(text) if text else None

    async def refusal(self, method: str, path: str, status: int, document: Any = None, **headers: str) -> Any:
        """The error that is answered."""
        return (await self.json(method, path, status, document, **headers))["error"]

    async def ended(self, run_id: str) -> Any:
        """The run, when it has ended."""
        deadline = time.monotonic() + SECONDS
        while True:
            run = await self.get(f"api/runs/{run_id}")
            if run["ended_at"] is not None:
                return run
            assert time.monotonic() < deadline, run
            await asyncio.sleep(0.02)


class Site:
    """A server, and those who come to it."""

    def __init__(self, server: WebServer, resources: AsyncExitStack) -> None:
        self.server = server
        self._resources = resources

    async def program(self, **headers: str) -> Visitor:
        """Somebody who keeps no cookies."""
        return await self._visitor(aiohttp.DummyCookieJar(), headers)

    async def browser(self, *, is_new: bool = False) -> Visitor:
        """A browser with the page open, or (``is_new``) one that has not been here."""
        visitor = await self._visitor(aiohttp.CookieJar(unsafe=True), OF_THE_PAGE)
        if not is_new:
            await visitor.get("api/session")
        return visitor

    async def guest(self) -> Visitor:
        """A browser that has signed in."""
        visitor = await self.browser()
        await visitor.json("POST", "api/session", 204, {"token": TOKEN})
        return visitor

    async def _visitor(self, jar: aiohttp.abc.AbstractCookieJar, headers: dict[str, str]) -> Visitor:
        http = aiohttp.ClientSession(cookie_jar=jar, timeout=aiohttp.ClientTimeout(SECONDS))
        return Visitor(self.server, await self._resources.enter_async_context(http), headers)


OpenSite = Callable[..., Awaitable[Site]]


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    """A RunPod whose worker does as the test says."""
    endpoint = ScriptedEndpoint()
    endpoint.start()
    yield endpoint
    endpoint.stop()


@pytest.fixture
async def open_site(endpoint: ScriptedEndpoint, tmp_path: Path) -> AsyncIterator[OpenSite]:
    """Starts the server with options of `SiteOptions`."""
    names = ("RUNPOD_ENDPOINT_ID", "RUNPOD_API_KEY", "RUNPOD_ENDPOINT_BASE_URL")
    async with AsyncExitStack() as resources:
        client = resources.enter_context(Client(*(endpoint.environment[name] for name in names)))

        async def start(**options: Any) -> Site:
            site_options = SiteOptions(port=0, **options)
            site_options.check()
            folder = tmp_path / "data"
            runs_options = RunsOptions(
                templates_folder=ROOT / "workflows", runs_at_once=site_options.limits.runs_at_once
            )
            runs = await resources.enter_async_context(Runs(client, folder, runs_options))
            server = WebServer(site_options, runs, load_key(folder))
            resources.push_async_callback(server.stop)
            await server.start()
            return Site(server, resources)

        yield start


@pytest.fixture
async def site(open_site: OpenSite) -> Site:
    """The server as it is on one's own machine."""
    return await open_site()
