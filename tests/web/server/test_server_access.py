"""Who may use the page's server, and what its answers tell browsers and strangers."""

from __future__ import annotations

import logging
import re

import aiohttp
import pytest
from aiohttp import web

from comfypod import logs
from comfypod.settings import Settings
from comfypod.web.site.application import make_application
from comfypod.web.site.entrance import Entrance
from comfypod.web.site.options import Limits, SiteOptions
from comfypod.web.site.sessions import Sessions
from tests.cli.conftest import ScriptedEndpoint, artifact, success
from tests.web.server.conftest import API_KEY, OF_THE_PAGE, RUN, TOKEN, OpenSite, Site

ON_EVERYTHING = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "comfypod",
}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "", 200),
        ("GET", "health", 200),
        ("GET", "api/session", 200),
        ("GET", "api/openapi.json", 200),
        ("GET", "api/runs", 200),
        ("GET", "api/nothing", 404),
        ("PUT", "health", 405),
        ("DELETE", "health", 405),
        ("GET", "static/nothing.js", 404),
        ("GET", "static/../server.py", 404),
        ("GET", "static/%2e%2e/server.py", 404),
        ("GET", "static/..%2fserver.py", 404),
    ],
)
async def test_every_answer_restrains_browsers(site: Site, method: str, path: str, status: int) -> None:
    visitor = await site.browser()
    async with visitor.ask(method, path) as answer:
        assert answer.status == status
        assert {name: answer.headers[name] for name in ON_EVERYTHING} == ON_EVERYTHING
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "camera=(self)" in answer.headers["Permissions-Policy"]
        assert answer.headers["Cache-Control"] == ("no-cache" if path == "" else "no-store")
        if status >= 400:
            assert set((await answer.json())["error"]) == {"code", "message", "details"}


async def test_the_page_is_sent_once_and_compressed(site: Site) -> None:
    visitor = await site.browser(is_new=True)
    async with visitor.ask("GET", "", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Content-Encoding"] == "gzip"
        assert "<html" in await answer.text()
        tag = answer.headers["ETag"]
    async with visitor.ask("GET", "", headers={"Accept-Encoding": "identity", "If-None-Match": tag}) as answer:
        assert answer.status == 304
        assert await answer.read() == b""
    async with visitor.ask("GET", "", headers={"Accept-Encoding": "identity", "If-None-Match": '"other"'}) as answer:
        assert "Content-Encoding" not in answer.headers
        assert (await answer.text()).lstrip().lower().startswith("<!doctype html>")


async def test_a_browser_is_one_visitor_and_sees_nobody_elses_runs(site: Site) -> None:
    first, second, program = await site.browser(), await site.browser(), await site.program()
    run = await first.json("POST", "api/runs", 201, RUN)
    await first.ended(run["id"])
    assert [item["id"] for item in (await first.get("api/runs"))["runs"]] == [run["id"]]
    file = f"api/runs/{run['id']}/files/0/fox.png"
    async with first.ask("GET", file) as answer:
        assert await answer.read() == b"a picture"
    async with first.ask("POST", "api/uploads?name=a", data=b"x", headers={"Content-Type": "image/png"}) as answer:
        upload = await answer.json()
    for stranger in (second, program):
        assert (await stranger.get("api/runs"))["runs"] == []
        mine = f"api/runs/{run['id']}"
        for path in (mine, f"{mine}/preview", f"{mine}/workflow", file, f"api/events?run={run['id']}"):
            assert (await stranger.refusal("GET", path, 404))["code"] == "run_not_found"
        assert (await stranger.refusal("DELETE", f"api/runs/{run['id']}", 404))["code"] == "run_not_found"
        assert (await stranger.refusal("POST", f"api/runs/{run['id']}/cancel", 404, {}))["code"] == "run_not_found"
        assert (await stranger.refusal("GET", f"api/uploads/{upload['id']}", 404))["code"] == "file_not_found"
        theirs = {**RUN, "files": [{"name": "a.png", "upload": upload["id"]}]}
        assert (await stranger.refusal("POST", "api/runs", 404, theirs))["code"] == "file_not_found"
    async with first.ask("GET", f"api/uploads/{upload['id']}") as answer:
        assert await answer.read() == b"x"


async def test_a_browser_without_its_cookie_is_nobody_until_it_asks_who_it_is(site: Site) -> None:
    browser = await site.browser(is_new=True)
    assert (await browser.refusal("GET", "api/runs", 401))["code"] == "sign_in_required"
    session = await browser.get("api/session")
    limits = {"runs_at_once": 4, "upload_bytes": 7_000_000}
    assert session == {"is_signed_in": True, "needs_token": False, "limits": limits}
    assert await browser.get("api/runs") == {"runs": [], "next": None}


async def test_programs_are_one_visitor(site: Site) -> None:
    one, other = await site.program(), await site.program()
    run = await one.json("POST", "api/runs", 201, RUN)
    assert (await other.get(f"api/runs/{run['id']}"))["id"] == run["id"]


async def test_the_cookie_is_the_pages_alone(open_site: OpenSite) -> None:
    site = await open_site(base_path="/comfypod/", token=TOKEN, trusts_proxy=True)
    browser = await site.browser(is_new=True)
    async with browser.ask("GET", "api/session") as answer:
        cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"comfypod_web_{site.server.port}=")
    for part in ("HttpOnly", "SameSite=Strict", "Path=/comfypod/", "Max-Age="):
        assert part in cookie
    assert "Secure" not in cookie
    async with browser.ask("GET", "api/session", headers={"X-Forwarded-Proto": "https"}) as answer:
        assert "; Secure" in answer.headers["Set-Cookie"]


async def test_what_a_proxy_says_is_not_believed_unasked(open_site: OpenSite) -> None:
    site = await open_site(token=TOKEN)
    browser = await site.browser(is_new=True)
    async with browser.ask("GET", "api/session", headers={"X-Forwarded-Proto": "https"}) as answer:
        assert "; Secure" not in answer.headers["Set-Cookie"]


async def test_below_a_path_nothing_is_anywhere_else(open_site: OpenSite) -> None:
    site = await open_site(base_path="/comfypod/")
    browser = await site.browser()
    assert site.server.url.endswith("/comfypod/")
    run = await browser.json("POST", "api/runs", 201, RUN)
    assert (await browser.ended(run["id"]))["state"] == "succeeded"
    root = site.server.url.removesuffix("comfypod/")
    async with browser.http.get(root + "comfypod", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (308, "/comfypod/")
    for path in ("", "health", "comfypodx", "static/app.js", "service_worker.js", "comfypod//api/runs"):
        async with browser.http.get(root + path) as answer:
            assert answer.status == 404, path


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "api/endpoint"),
        ("GET", "api/templates"),
        ("GET", "api/runs"),
        ("GET", "api/events"),
        ("GET", "api/nothing"),
        ("POST", "api/runs"),
        ("POST", "api/forms"),
        ("POST", "api/uploads"),
        ("GET", "api/uploads/x"),
        ("DELETE", "api/runs/x"),
        ("GET", "%61pi/runs"),
        ("GET", "/api/runs"),
    ],
)
async def test_with_a_token_strangers_get_nothing(open_site: OpenSite, method: str, path: str) -> None:
    site = await open_site(token=TOKEN)
    document = {} if method == "POST" else None
    for stranger in (await site.browser(), await site.program()):
        error = await stranger.refusal(method, path, 401, document)
        assert error["code"] == "sign_in_required"
        for given in ("Bearer wrong", "Bearer", f"Bearer {TOKEN}x"):
            assert (await stranger.refusal(method, path, 401, document, Authorization=given))["code"] == "wrong_token"


async def test_with_a_token_the_page_shows_itself_and_signs_in(open_site: OpenSite) -> None:
    site = await open_site(token=TOKEN)
    browser = await site.browser(is_new=True)
    async with browser.ask("GET", "") as answer:
        assert answer.status == 200
    assert await browser.get("health") == {"status": "ok"}
    assert (await browser.get("api/session"))["is_signed_in"] is False
    assert (await browser.refusal("POST", "api/session", 401, {"token": "wrong"}))["code"] == "wrong_token"
    assert (await browser.refusal("POST", "api/session", 400, {"token": 1}))["code"] == "bad_request"
    assert (await browser.get("api/session"))["is_signed_in"] is False
    await browser.json("POST", "api/session", 204, {"token": TOKEN})
    assert (await browser.get("api/session"))["is_signed_in"] is True
    run = await browser.json("POST", "api/runs", 201, RUN)
    await browser.json("DELETE", "api/session", 204)
    assert (await browser.refusal("GET", "api/runs", 401))["code"] == "sign_in_required"
    await browser.json("POST", "api/session", 204, {"token": TOKEN})
    assert [item["id"] for item in (await browser.get("api/runs"))["runs"]] == [run["id"]], "it is the same visitor"


async def test_programs_bring_the_token(open_site: OpenSite) -> None:
    site = await open_site(token=TOKEN)
    program, browser = await site.program(Authorization=f"Bearer {TOKEN}"), await site.guest()
    run = await program.json("POST", "api/runs", 201, RUN)
    assert (await program.ended(run["id"]))["state"] == "succeeded"
    assert (await browser.get("api/runs"))["runs"] == []
    async with program.ask("GET", "api/session") as answer:
        assert (await answer.json())["is_signed_in"] is True
        assert "Set-Cookie" not in answer.headers


async def test_wrong_tokens_cost_time(open_site: OpenSite) -> None:
    site = await open_site(token=TOKEN, limits=Limits(wrong_tokens_a_minute=2))
    browser, program = await site.browser(), await site.program()
    await browser.refusal("POST", "api/session", 401, {"token": "wrong"})
    await program.refusal("GET", "api/runs", 401, Authorization="Bearer wrong")
    for visitor, method, path, headers in (
        (browser, "POST", "api/session", {}),
        (program, "GET", "api/runs", {"Authorization": f"Bearer {TOKEN}"}),
    ):
        document = {"token": TOKEN} if method == "POST" else None
        async with visitor.ask(method, path, json=document, headers=headers) as answer:
            assert answer.status == 429
            assert 0 < int(answer.headers["Retry-After"]) <= 60
            assert (await answer.json())["error"]["code"] == "too_many"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:1", "localhost.evil.example", ""])
async def test_requests_by_another_name_are_refused(site: Site, host: str) -> None:
    browser = await site.browser()
    for path in ("", "health", "api/session", "api/runs"):
        assert (await browser.refusal("GET", path, 421, Host=host))["code"] == "unknown_host"


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
)
async def test_pages_of_other_sites_are_refused(site: Site, headers: dict[str, str]) -> None:
    browser = await site.browser()
    for method, path in (
        ("GET", "api/runs"),
        ("POST", "api/runs"),
        ("GET", "static/app.css"),
        ("DELETE", "api/session"),
    ):
        document = RUN if method == "POST" else None
        error = await browser.refusal(method, path, 403, document, **headers)
        assert error["code"] == "foreign_request"
        async with browser.ask("OPTIONS", path, headers={**headers, "Access-Control-Request-Method": method}) as answer:
            assert answer.status == 403
            assert not [name for name in answer.headers if name.startswith("Access-Control")]
    assert (await browser.get("api/runs"))["runs"] == []


async def test_a_form_changes_nothing(site: Site) -> None:
    browser = await site.browser()
    run = await browser.json("POST", "api/runs", 201, RUN)
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        for path in ("api/runs", f"api/runs/{run['id']}/cancel", "api/uploads?name=a", "api/session"):
            async with browser.ask("POST", path, data=b"{}", headers={"Content-Type": content_type}) as answer:
                assert answer.status == 415, path
                assert (await answer.json())["error"]["code"] == "unsupported_content"
    assert len((await browser.get("api/runs"))["runs"]) == 1
    async with browser.ask("POST", "api/uploads?name=a", data=b"x", headers={"X-Comfypod": "1"}) as answer:
        assert answer.status == 201


async def test_without_a_token_no_proxy_lets_strangers_in(site: Site) -> None:
    browser = await site.browser()
    error = await browser.refusal("GET", "api/runs", 403, **{"X-Forwarded-For": "203.0.113.7"})
    assert "--trust-proxy" in error["message"]


async def test_behind_a_proxy_limits_are_those_of_the_address_outside(open_site: OpenSite) -> None:
    site = await open_site(token=TOKEN, trusts_proxy=True, limits=Limits(wrong_tokens_a_minute=1))
    program = await site.program()
    for address in ("203.0.113.7", "203.0.113.8", "1.1.1.1, 203.0.113.9"):
        await program.refusal("POST", "api/session", 401, {"token": "wrong"}, **{"X-Forwarded-For": address})
    await program.refusal("POST", "api/session", 429, {"token": "x"}, **{"X-Forwarded-For": "2.2.2.2, 203.0.113.9"})


async def test_the_key_is_in_no_answer_and_no_log(
    open_site: OpenSite, endpoint: ScriptedEndpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(Settings(log_level="DEBUG"))
    try:
        site = await open_site(token=TOKEN)
        guest = await site.guest()
        endpoint.script = (success(artifact(b"a picture")),)
        run = await guest.json("POST", "api/runs", 201, RUN)
        await guest.ended(run["id"])
        seen = []
        paths = ["", "health", "api/session", "api/openapi.json", "api/endpoint", "api/templates", "api/runs"]
        for path in [*paths, f"api/runs/{run['id']}", f"api/runs/{run['id']}/files/0/a.png", "api/nothing"]:
            async with guest.ask("GET", path) as answer:
                seen += [await answer.text(errors="replace"), str(answer.headers)]
        seen.append(str(await guest.json("POST", "api/forms", 200, {"workflow": "text_to_image"})))
        async with guest.ask("GET", "api/events") as answer:
            seen.append((await answer.content.readuntil(b"\n\n")).decode())
        captured = capsys.readouterr()
    finally:
        forget_logs()
    everything = "".join([*seen, captured.out, captured.err])
    assert "web_started" in captured.err
    assert run["id"] in everything
    assert API_KEY not in everything
    assert TOKEN not in everything
    assert not re.search(r"bearer\s+\S{8}", everything.replace("Bearer TOKEN", ""), re.IGNORECASE)


async def test_one_visitor_cannot_start_everything(open_site: OpenSite) -> None:
    site = await open_site(limits=Limits(runs_a_minute=2, forms_a_minute=3, questions_a_minute=1, uploads_a_minute=1))
    browser, other = await site.browser(), await site.browser()
    for status in (200, 429):
        await browser.json("POST", "api/forms", status, {"workflow": "text_to_image", "ask": True})
    for _ in range(2):
        await browser.json("POST", "api/runs", 201, RUN)
    assert (await browser.refusal("POST", "api/runs", 429, RUN))["code"] == "too_many"
    await browser.json("POST", "api/forms", 200, {"workflow": "text_to_image"})
    await browser.refusal("POST", "api/forms", 429, {"workflow": "text_to_image"})
    for status in (201, 429):
        await browser.json("POST", "api/uploads?name=a", status, {})
    await other.json("POST", "api/runs", 201, RUN)


async def test_runs_at_once_are_limited(open_site: OpenSite, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = ("hold",)
    site = await open_site(limits=Limits(runs_at_once=1))
    browser, other = await site.browser(), await site.browser()
    run = await browser.json("POST", "api/runs", 201, RUN, **{"Idempotency-Key": "a"})
    again = await browser.json("POST", "api/runs", 201, RUN, **{"Idempotency-Key": "a"})
    assert again["id"] == run["id"]
    async with browser.ask("POST", "api/runs", json=RUN) as answer:
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) > 0
        assert (await answer.json())["error"]["code"] == "too_many_runs"
    await other.json("POST", "api/runs", 201, RUN)


async def test_it_is_served_to_old_and_strange_clients(site: Site) -> None:
    program = await site.program()
    async with program.ask("GET", "health", headers={"X-Strange": "\u00ff", "Accept-Encoding": "br;q=9, *"}) as answer:
        assert answer.status == 200
    async with program.http.head(site.server.url + "health", headers=OF_THE_PAGE) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    async with aiohttp.ClientSession(version=aiohttp.HttpVersion10) as old, old.get(site.server.url) as answer:
        assert answer.status == 200


async def test_what_goes_wrong_inside_is_not_shown_outside(capsys: pytest.CaptureFixture[str]) -> None:
    async def fail(_request: web.Request) -> web.Response:
        raise RuntimeError("an inner matter")

    options = SiteOptions()
    entrance = Entrance(options, Sessions(b"k" * 32, None))
    runner = web.AppRunner(make_application(entrance, [web.get("/health", fail)], options), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    entrance.open(port)
    logs.configure(Settings())
    try:
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/health") as answer:
            assert answer.status == 500
            assert (await answer.json())["error"]["code"] == "internal"
            assert "inner" not in await answer.text()
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    finally:
        forget_logs()
        await runner.cleanup()
    assert "RuntimeError: an inner matter" in capsys.readouterr().err


def forget_logs() -> None:
    """Let other tests have the log as it was."""
    logs.log.handlers.clear()
    logs.log.setLevel(logging.NOTSET)
    logs.log.propagate = True
