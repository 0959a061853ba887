"""A real browser in front of the real chain. Every test has a browser of its own as far as it can tell."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Playwright, async_playwright

from tests.browser.chain import KEY, Chain
from tests.browser.workplace import PATIENCE_MILLISECONDS, Watch, Workplace

NAMES = ("chromium", "chromium-browser", "google-chrome")
HOW = "no Chromium: install one, name it in COMFYPOD_CHROMIUM, or run `.venv/bin/playwright install chromium`"
# Nothing is looked up: whatever the page might want from elsewhere fails, and is seen.
ARGUMENTS = (
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--use-fake-device-for-media-stream",  # a camera that shows a clock
)

Opener = Callable[..., Awaitable[Workplace]]


def chromium(playwright: Playwright) -> str | None:
    """The program: the one that is named, else one of the system, else playwright's own."""
    named = os.environ.get("COMFYPOD_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None) or playwright.chromium.executable_path
    return found if Path(found).is_file() else None


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    chain = Chain(tmp_path_factory.mktemp("chain"))
    try:
        chain.start()
        yield chain
    finally:
        chain.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        program = chromium(playwright)
        if program is None:
            pytest.skip(HOW)
        sandbox = os.geteuid() != 0  # Chromium refuses to have one for root
        browser = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS, chromium_sandbox=sandbox)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def open_page(browser: Browser, chain: Chain) -> AsyncIterator[Opener]:
    """Opens the page in a browser that has never seen it; in the end says whether anything went wrong in there."""
    watch = Watch()
    async with AsyncExitStack() as stack:

        async def open_page(**options: Any) -> Workplace:
            # A service worker fetches everything once more, and hides requests from the watch; one test has it.
            usual = {"viewport": {"width": 1280, "height": 860}, "reduced_motion": "reduce", "service_workers": "block"}
            options = {**usual, **options}
            context = await browser.new_context(**options)
            stack.push_async_callback(context.close)
            context.set_default_timeout(PATIENCE_MILLISECONDS)
            watch.follow(context)
            work = Workplace(await context.new_page(), chain.url, watch)
            await work.open()
            return work

        yield open_page
        await watch.bodies()
    watch.check(KEY)


@pytest_asyncio.fixture(loop_scope="module")
async def work(open_page: Opener) -> Workplace:
    return await open_page()
