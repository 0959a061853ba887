"""Who may use ComfyUI's page, and which headers pass it."""

from __future__ import annotations

from base64 import b64encode

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from comfypod.pod.headers import passed_on
from comfypod.pod.sign_in import SignIn

PASSWORD = "0123456789abcdef"


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "header", [basic(f"anybody:{PASSWORD}"), basic(f":{PASSWORD}"), basic(f"a:{PASSWORD}").replace("Basic", "basic")]
)
def test_the_password_is_enough_whatever_the_name(header: str) -> None:
    assert SignIn(PASSWORD, "page").has_password(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        basic(""),
        basic(PASSWORD),
        basic(f"{PASSWORD}:"),
        basic(f"a:{PASSWORD}x"),
        basic("a:ä"),
        f"Bearer {PASSWORD}",
        "Basic ====",
        "Basic /w==",
        "Basic \udcff",
    ],
)
def test_nothing_else_is(header: str) -> None:
    assert not SignIn(PASSWORD, "page").has_password(header)


def test_the_cookie_stands_for_the_password_until_the_pod_ends() -> None:
    sign_in = SignIn(PASSWORD, "page_8188")
    name, _, rest = sign_in.cookie(is_https=False).partition("=")
    token, *attributes = rest.split("; ")
    assert (name, attributes) == ("page_8188", ["Path=/", "HttpOnly", "SameSite=Strict"])
    assert sign_in.cookie(is_https=True).endswith("; Secure")
    assert sign_in.has_cookie({name: token})
    for cookies in ({}, {name: ""}, {name: token[:-1]}, {name: PASSWORD}, {"page": token}, {name: "\udcff"}):
        assert not sign_in.has_cookie(cookies)
    assert not SignIn(PASSWORD, "page_8188").has_cookie({name: token})
    assert sign_in.others_cookies(f"a=1; {name}={token}; b=2=3;") == "a=1; b=2=3"
    assert sign_in.others_cookies(f"{name}={token}") == ""


def test_headers_of_the_connection_stay_behind() -> None:
    headers = CIMultiDict({"Connection": "keep-alive, X-Hop", "X-Hop": "1", "Upgrade": "h2c", "TE": "trailers"})
    headers.extend({"Transfer-Encoding": "chunked", "Accept": "*/*", "Authorization": "secret"})
    headers.add("Set-Cookie", "a=1")
    headers.add("Set-Cookie", "b=2")
    kept = passed_on(CIMultiDictProxy(headers), ["authorization"])
    assert list(kept.items()) == [("Accept", "*/*"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
