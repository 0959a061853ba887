"""Which requests are a foreign page's doing."""

from __future__ import annotations

import pytest

from comfypod.browsers import comes_from_elsewhere, is_browser, is_same_secret

HOST = "127.0.0.1:8188"
OUTSIDE = "abc-8188.proxy.runpod.net"
VISIT = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/prompt", {}),  # no browser
        ("POST", "/prompt", {"Origin": f"http://{HOST}"}),
        ("GET", "/ws", {"Origin": f"https://{HOST.upper()}"}),  # encrypted as far as a proxy
        ("GET", "/ws", {"Host": "a.example:443", "Origin": "https://a.example"}),
        ("GET", "/ws", {"X-Forwarded-Host": "a.example", "Origin": "https://a.example"}),
        ("GET", "/ws", {"Origin": f"https://{OUTSIDE}"}),
        ("GET", "/view", {"Sec-Fetch-Site": "same-origin"}),
        ("GET", "/view", {"Sec-Fetch-Site": "none"}),
        ("GET", "/", VISIT),  # a link in RunPod's console
    ],
)
def test_what_comes_from_the_page_itself(method: str, path: str, headers: dict[str, str]) -> None:
    assert not comes_from_elsewhere(method, path, {"Host": HOST, **headers}, [OUTSIDE])


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/ws", {"Origin": "https://evil.example"}),
        ("GET", "/ws", {"Origin": "http://127.0.0.1:9999"}),  # another program of this machine
        ("GET", "/ws", {"Origin": "null"}),
        ("GET", "/ws", {"Origin": ""}),
        ("GET", "/ws", {"Origin": "http://[evil"}),
        ("GET", "/ws", {"Origin": f"chrome-extension://{HOST}"}),
        ("GET", "/ws", {"Origin": f"https://{OUTSIDE}.evil.example"}),
        ("GET", "/ws", {"Host": "", "Origin": "https://"}),
        ("GET", "/interrupt", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}),
        ("GET", "/view", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}),
        ("GET", "/manager/reboot", VISIT),
        ("POST", "/", VISIT),
    ],
)
def test_what_a_foreign_page_has_sent(method: str, path: str, headers: dict[str, str]) -> None:
    assert comes_from_elsewhere(method, path, {"Host": HOST, **headers}, [OUTSIDE])


def test_programs_do_not_look_like_browsers() -> None:
    assert is_browser({"Sec-Fetch-Site": "same-origin"})
    assert is_browser({"Origin": "null"})
    assert not is_browser({"Host": HOST, "User-Agent": "curl/8"})


@pytest.mark.parametrize("given", ["", "secre", "secret ", "Secret", "ä", "\udcff"])
def test_only_the_secret_is_the_secret(given: str) -> None:
    assert is_same_secret("secret", "secret")
    assert not is_same_secret(given, "secret")
