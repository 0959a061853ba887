"""What holds for every route of the interface, one after the other as its document lists them."""

from __future__ import annotations

import re

import pytest

from comfypod.web.site.openapi import openapi_document
from tests.cli.conftest import ScriptedEndpoint, artifact, success
from tests.web.server.conftest import API_KEY, RUN, TOKEN, OpenSite, Site, Visitor

BODIES = {"/api/runs": RUN, "/api/forms": {"workflow": "text_to_image"}, "/api/session": {"token": "wrong"}}
LAST = ("/api/runs/{id}", "/api/session")
"""Where something is removed, and where one signs out."""
ROUTES = [
    (method.upper(), path)
    for path, operations in sorted(openapi_document()["paths"].items(), key=lambda item: (item[0] in LAST, item[0]))
    for method in sorted(operations, reverse=True)  # POST and GET come before DELETE
]


async def answers(visitor: Visitor, run_id: str = "x", **headers: str) -> list[tuple[str, int, str]]:
    """What every route answers: which one, its status, and all of its head and body."""
    names = {"id": run_id, "index": "0", "filename": "fox.png", "path": "styles/base.css"}
    found = []
    for method, template in ROUTES:
        path = re.sub(r"\{(\w+)\}", lambda match: names.get(match[1], "x"), template).removeprefix("/")
        document = BODIES.get(template, {}) if method == "POST" else None
        async with visitor.ask(method, path, json=document, headers=headers) as answer:
            is_endless = answer.content_type == "text/event-stream"
            body = await (answer.content.readuntil(b"\n\n") if is_endless else answer.read())
            found.append((f"{method} {path}", answer.status, f"{answer.headers}{body.decode(errors='replace')}"))
    return found


@pytest.mark.parametrize("is_signed_in", [True, False])
async def test_no_route_tells_the_key(open_site: OpenSite, endpoint: ScriptedEndpoint, *, is_signed_in: bool) -> None:
    site = await open_site(token=TOKEN)
    endpoint.script = (success(artifact(b"a picture", "fox.png")),)
    owner = await site.guest()
    run = await owner.json("POST", "api/runs", 201, RUN)
    await owner.ended(run["id"])
    found = await answers(owner if is_signed_in else await site.browser(is_new=True), run["id"])
    statuses = {route: status for route, status, _ in found}
    for path in (f"GET api/runs/{run['id']}", f"GET api/runs/{run['id']}/files/0/fox.png", "GET api/events"):
        assert statuses[path] == (200 if is_signed_in else 401), path
    assert [route for route, _, text in found if API_KEY in text] == []


async def test_no_route_answers_by_another_name(site: Site) -> None:
    found = await answers(await site.browser(), Host="evil.example")
    assert {status for _, status, _ in found} == {421}


async def test_no_route_of_the_interface_answers_another_sites_page(site: Site) -> None:
    found = await answers(await site.browser(), Origin="https://evil.example")
    assert {route: status for route, status, _ in found if status != 403} == {}
