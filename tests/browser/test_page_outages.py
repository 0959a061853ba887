"""The page while the server, or the endpoint, is away: what has been seen stays, what goes on goes on."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import expect

from tests.browser.chain import SLOW, Chain, file_of, workflow
from tests.browser.conftest import Opener
from tests.browser.workplace import Workplace

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROMPT = "three yellow stars on night"
AWAY = ("Failed to load resource", "net::ERR")


async def begin_slow_run(work: Workplace) -> str:
    await work.open_workflow(file_of(workflow(SLOW, steps=10), "slow.json"))
    run_id = await work.run()
    await expect(work.progress).to_have_attribute("aria-valuenow", re.compile(r"\d+"))
    return run_id


async def test_a_server_that_restarts_in_mid_run_loses_nothing(work: Workplace, chain: Chain) -> None:
    work.watch.expected = AWAY
    run_id = await begin_slow_run(work)
    await asyncio.to_thread(chain.stop_server)
    await expect(work.page.get_by_role("status", name="Connection")).to_contain_text("is lost")
    await asyncio.to_thread(chain.start_server)
    await work.expect_picture(PROMPT)
    await expect(work.page.get_by_role("status", name="Connection")).to_be_empty()
    assert [run["id"] for run in (await work.api("runs"))["runs"]] == [run_id]


async def test_an_endpoint_that_is_away_is_waited_for(work: Workplace, chain: Chain) -> None:
    await asyncio.to_thread(chain.stop_endpoint)
    try:
        await work.fill({"Prompt": PROMPT, "Width": 128, "Height": 128})
        await work.run()
        await expect(work.page.get_by_role("button", name="Endpoint: Cannot be reached")).to_be_visible()
        await expect(work.progress).to_have_attribute("aria-valuetext", "The endpoint cannot be reached; trying again")
    finally:
        await asyncio.to_thread(chain.start_endpoint)
    await work.expect_picture(PROMPT)


async def test_what_was_seen_is_there_without_the_server(open_page: Opener, chain: Chain) -> None:
    work = await open_page(service_workers="allow")
    work.watch.expected = AWAY
    await work.page.evaluate("navigator.serviceWorker.ready")
    await work.page.reload()  # from now on the browser keeps what it sees
    await work.fill({"Prompt": PROMPT, "Width": 128, "Height": 128})
    async with work.page.expect_response(
        lambda answer: re.search(r"/api/runs(\?|$)", answer.url) and answer.request.method == "GET"
    ):
        await work.run()
        await work.expect_picture(PROMPT)
    await asyncio.to_thread(chain.stop_server)
    try:
        await work.page.reload()
        await work.expect_picture(PROMPT)
        await expect(work.page.get_by_role("status", name="Connection")).to_contain_text("You are offline")
        await expect(work.run_button).to_be_disabled()
    finally:
        await asyncio.to_thread(chain.start_server)
    await expect(work.run_button).to_be_enabled()
