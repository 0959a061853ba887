"""Which requests the page's server refuses whoever sends them, and with which options it does not start."""

from __future__ import annotations

import pytest

from comfypod.errors import ComfyPodError, ConfigurationError, ForeignRequest, UnknownHost, UnsupportedContent
from comfypod.web.site.guard import Asked, Guard
from comfypod.web.site.options import SiteOptions, as_base_path, host_and_port

PORT = 8765
HOST = f"127.0.0.1:{PORT}"
TOKEN = "0123456789abcdef"
JSON = {"Content-Type": "application/json"}
EVERYWHERE = "0.0.0.0"  # noqa: S104


def check(method: str, headers: dict[str, str], options: SiteOptions | None = None, **more: str) -> None:
    asked = {"path": "/api/runs", "scheme": "http", "local_address": "127.0.0.1", **more}
    Guard(options or SiteOptions(), PORT).check(Asked(method=method, headers={"Host": HOST, **headers}, **asked))


@pytest.mark.parametrize("host", [HOST, f"localhost:{PORT}", f"LOCALHOST:{PORT}"])
def test_this_machines_own_names_are_known(host: str) -> None:
    check("GET", {"Host": host})


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":",
        "127.0.0.1",  # port 80
        "127.0.0.1:8766",
        "evil.example:8765",
        "127.0.0.1.evil.example:8765",
        "localhost.:8765",
        "localhost:8765@evil.example",
        "192.168.1.7:8765",
        "[::1",
        "[::2]:8765",
        "\udcff:8765",
    ],
)
def test_other_names_are_not(host: str) -> None:
    with pytest.raises(UnknownHost) as refusal:
        check("GET", {"Host": host})
    assert "--allow-host" in str(refusal.value)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("[::1]:8765", "::1"),
        ("[0:0::1]:8765", "::1"),
        ("localhost:8765", "::1"),
        ("192.168.1.7:8765", "192.168.1.7"),
        ("192.168.1.7:8765", "::ffff:192.168.1.7"),  # a socket for both kinds of addresses
    ],
)
def test_the_address_that_a_connection_came_to_is_known(host: str, local: str) -> None:
    check("GET", {"Host": host}, SiteOptions(host=EVERYWHERE, token=TOKEN), local_address=local)


def test_beyond_this_machine_it_is_not_localhost() -> None:
    with pytest.raises(UnknownHost):
        check("GET", {"Host": f"localhost:{PORT}"}, SiteOptions(host=EVERYWHERE, token=TOKEN), local_address="10.0.0.5")


@pytest.mark.parametrize(
    ("allowed", "host", "is_known"),
    [
        ("pictures.example", "pictures.example", True),
        ("pictures.example", "Pictures.Example:444", True),
        ("pictures.example:444", "pictures.example:444", True),
        ("pictures.example:444", "pictures.example", False),
        ("pictures.example", "a.pictures.example", False),
    ],
)
def test_names_may_be_allowed(allowed: str, host: str, *, is_known: bool) -> None:
    options = SiteOptions(allowed_hosts=(allowed,), token=TOKEN)
    if is_known:
        check("GET", {"Host": host}, options)
        check("POST", {"Host": host, "Origin": f"https://{host.lower()}", **JSON}, options)
    else:
        with pytest.raises(UnknownHost):
            check("GET", {"Host": host}, options)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_pages_of_other_sites_reach_nothing(method: str, headers: dict[str, str]) -> None:
    with pytest.raises(ForeignRequest):
        check(method, {**JSON, **headers})


def test_a_link_on_another_site_leads_to_the_front_page_alone() -> None:
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    check("GET", visit, path="/")
    with pytest.raises(ForeignRequest):
        check("GET", visit, path="/api/runs")


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "Text/Plain; a=application/json", "multipart/form-data; boundary=x"]
)
def test_what_a_form_could_send_changes_nothing(content_type: str) -> None:
    with pytest.raises(UnsupportedContent):
        check("POST", {"Content-Type": content_type})
    check("POST", {"Content-Type": content_type, "X-Comfypod": "1"})


def test_what_no_form_can_send_may() -> None:
    check("POST", {"Content-Type": "application/json; charset=utf-8", "Origin": f"http://{HOST}"})
    check("POST", {"Content-Type": "image/png"})
    check("DELETE", {})


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "X-Real-IP"])
def test_without_a_token_nothing_comes_through_a_proxy(header: str) -> None:
    with pytest.raises(ForeignRequest, match="--trust-proxy"):
        check("GET", {header: "x"})
    check("GET", {header: "x"}, SiteOptions(token=TOKEN))


@pytest.mark.parametrize(
    "options",
    [
        SiteOptions(host=EVERYWHERE),
        SiteOptions(host="::"),
        SiteOptions(host="comfypod.example"),
        SiteOptions(trusts_proxy=True),
        SiteOptions(allowed_hosts=("pictures.example",)),
    ],
)
def test_beyond_this_machine_there_must_be_a_token(options: SiteOptions) -> None:
    with pytest.raises(ConfigurationError, match="COMFYPOD_WEB_TOKEN"):
        options.check()


@pytest.mark.parametrize("token", ["", TOKEN[1:], f"{TOKEN} ", "ä" * 20, "x\n" * 20])
def test_a_token_is_long_and_plain(token: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        SiteOptions(token=token).check()
    assert not token or token not in str(refusal.value)


def test_what_makes_sense_is_not_refused() -> None:
    for options in (
        SiteOptions(),
        SiteOptions(host="::1"),
        SiteOptions(host="localhost", allowed_hosts=("127.0.0.1:9000",)),
        SiteOptions(host=EVERYWHERE, token=TOKEN, base_path="/a/b-c/", allowed_hosts=("a.example:8", "[::1]:8")),
    ):
        options.check()
    assert TOKEN not in repr(SiteOptions(token=TOKEN))


@pytest.mark.parametrize("given", ["/../", "/a b/", "/a//b/", "/<x>/", "/.git/"])
def test_a_base_path_is_plain(given: str) -> None:
    with pytest.raises(ComfyPodError, match="base path"):
        SiteOptions(base_path=given).check()


def test_a_base_path_may_be_written_in_several_ways() -> None:
    assert [as_base_path(text) for text in ("", "/", "a", "/a", "a/b/")] == ["/", "/", "/a/", "/a/", "/a/b/"]


@pytest.mark.parametrize(
    ("host", "parts"),
    [
        ("A.example:80", ("a.example", "80")),
        ("[::1]:80", ("::1", "80")),
        ("[::1]", ("::1", "")),
        ("::1", ("::1", "")),
        ("a", ("a", "")),
    ],
)
def test_a_host_has_a_name_and_perhaps_a_port(host: str, parts: tuple[str, str]) -> None:
    assert host_and_port(host) == parts
