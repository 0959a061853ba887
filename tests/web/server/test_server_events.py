"""Events as browsers get them, and the server's end."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest

from comfypod.web.site.options import Limits
from tests.cli.conftest import HOLD, SECONDS, ScriptedEndpoint, artifact, success, update
from tests.web.server.conftest import RUN, OpenSite, Site


async def next_event(answer: aiohttp.ClientResponse) -> tuple[str, Any]:
    """Name and document of the next event; comments have no name."""
    async with asyncio.timeout(SECONDS):
        block = (await answer.content.readuntil(b"\n\n")).decode()
    if block.startswith(":"):
        return "", block
    name, data, *_ = block.splitlines()
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def run_in_state(answer: aiohttp.ClientResponse, run_id: str, state: str) -> Any:
    """The run, when it is told that it has come so far."""
    while True:
        name, document = await next_event(answer)
        if name == "run" and (document["id"], document["state"]) == (run_id, state):
            return document


async def test_a_run_is_told_from_beginning_to_end(site: Site, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (update(0.5, "half"), success(artifact(b"a picture")))
    browser = await site.browser()
    async with browser.ask("GET", "api/events") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["Cache-Control"] == "no-store, no-transform"
        assert await next_event(answer) == ("runs", {"runs": [], "next": None})
        run = await browser.json("POST", "api/runs", 201, RUN)
        running = await run_in_state(answer, run["id"], "running")
        assert running["id"] == run["id"]
        ended = await run_in_state(answer, run["id"], "succeeded")
        assert ended["outputs"][0]["filename"] == "fox_00001_.png"
        await browser.json("DELETE", f"api/runs/{run['id']}", 204)
        while (told := await next_event(answer))[0] != "removed":
            pass
        assert told[1] == {"id": run["id"]}
    async with browser.ask("GET", "api/events") as answer:
        assert await next_event(answer) == ("runs", {"runs": [], "next": None})


async def test_one_run_alone_can_be_watched(site: Site) -> None:
    browser = await site.browser()
    run = await browser.json("POST", "api/runs", 201, RUN)
    async with browser.ask("GET", f"api/events?run={run['id']}") as answer:
        name, document = await next_event(answer)
        assert (name, [item["id"] for item in document["runs"]]) == ("runs", [run["id"]])
    for run_id in ("../x", "0" * 26, ""):
        assert (await browser.refusal("GET", f"api/events?run={run_id}", 404))["code"] == "run_not_found"


async def test_a_quiet_stream_is_not_a_silent_one(open_site: OpenSite) -> None:
    site = await open_site(limits=Limits(comment_seconds=0.05))
    browser = await site.browser()
    async with browser.ask("GET", "api/events") as answer:
        while (await next_event(answer))[0] != "":
            pass


async def test_streams_are_limited_and_given_back(open_site: OpenSite) -> None:
    site = await open_site(limits=Limits(streams_at_once=1))
    browser, other = await site.browser(), await site.browser()
    async with browser.ask("GET", "api/events") as answer:
        await next_event(answer)
        assert (await browser.refusal("GET", "api/events", 429))["code"] == "too_many"
        async with other.ask("GET", "api/events") as others:
            assert others.status == 200
    deadline = time.monotonic() + SECONDS
    while True:  # the server notices by itself that the browser has left
        async with browser.ask("GET", "api/events") as answer:
            if answer.status == 200:
                return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_the_servers_end_closes_streams_at_once(site: Site, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (HOLD,)
    browser = await site.browser()
    await browser.json("POST", "api/runs", 201, RUN)
    async with browser.ask("GET", "api/events") as answer:
        await next_event(answer)
        began = time.monotonic()
        await site.server.stop()
        async with asyncio.timeout(SECONDS):
            await answer.content.read()  # to a proper end
        assert time.monotonic() - began < 3


async def test_what_a_browser_began_is_finished_without_it(site: Site, endpoint: ScriptedEndpoint) -> None:
    browser = await site.browser()
    body = json.dumps(RUN).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
    cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in browser.http.cookie_jar)
    head = f"POST /api/runs HTTP/1.1\r\nHost: 127.0.0.1:{site.server.port}\r\nCookie: {cookies}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    writer.close()
    deadline = time.monotonic() + SECONDS
    while not (runs := (await browser.get("api/runs"))["runs"]):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert (await browser.ended(runs[0]["id"]))["state"] == "succeeded"


async def test_a_run_can_be_cancelled(site: Site, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = (HOLD,)
    browser = await site.browser()
    run = await browser.json("POST", "api/runs", 201, RUN)
    assert (await browser.refusal("DELETE", f"api/runs/{run['id']}", 409))["code"] == "run_not_ended"
    cancelled = await browser.json("POST", f"api/runs/{run['id']}/cancel", 200, {})
    assert cancelled["is_cancelling"] or cancelled["state"] == "cancelled"
    assert (await browser.ended(run["id"]))["state"] == "cancelled"
    await browser.json("DELETE", f"api/runs/{run['id']}", 204)
    assert (await browser.refusal("GET", f"api/runs/{run['id']}", 404))["code"] == "run_not_found"


@pytest.mark.parametrize("workflow", ["text_to_image", {"1": {"class_type": "EmptyImage", "inputs": {"width": 8}}}])
async def test_the_workflow_of_a_run_can_be_had_again(site: Site, workflow: object) -> None:
    browser = await site.browser()
    run = await browser.json("POST", "api/runs", 201, {"workflow": workflow})
    await browser.ended(run["id"])
    assert await browser.get(f"api/runs/{run['id']}/workflow") == workflow


async def test_lists_have_pages(site: Site) -> None:
    browser = await site.browser()
    ids = []
    for _ in range(3):
        run = await browser.json("POST", "api/runs", 201, RUN)
        ids.insert(0, (await browser.ended(run["id"]))["id"])
    page = await browser.get("api/runs?limit=2")
    assert [run["id"] for run in page["runs"]] == ids[:2]
    rest = await browser.get(f"api/runs?limit=2&before={page['next']}")
    assert ([run["id"] for run in rest["runs"]], rest["next"]) == (ids[2:], None)
    for limit in ("0", "101", "x", "-1", "\u0661", "9" * 5000):
        assert (await browser.refusal("GET", f"api/runs?limit={limit}", 400))["code"] == "bad_request"


async def test_the_endpoint_and_the_templates_are_told(site: Site) -> None:
    browser = await site.browser()
    endpoint = await browser.get("api/endpoint")
    assert (endpoint["name"], endpoint["is_reachable"], endpoint["error"]) == ("local", True, None)
    templates = await browser.get("api/templates")
    assert templates[0]["name"] == "text_to_image"
    assert templates[0]["fields"][0]["name"] == "prompt"
    form = await browser.json("POST", "api/forms", 200, {"workflow": "text_to_image"})
    assert form["fields"][0]["kind"] == "longtext"
    for document in ({}, {"workflow": 1}, {"workflow": "text_to_image", "ask": "yes"}):
        assert (await browser.refusal("POST", "api/forms", 400, document))["code"] == "bad_request"
