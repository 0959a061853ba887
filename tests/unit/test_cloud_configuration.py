"""Where the client finds its endpoint and key, what it costs to import, and that it shows no key."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import comfypod
from comfypod import Client
from comfypod.cloud.configuration import RUNPOD_URL, find_connection
from comfypod.errors import ConfigurationError

KEY = "rpa_S3CRET"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RUNPOD_ENDPOINT_ID", "RUNPOD_API_KEY", "RUNPOD_ENDPOINT_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write_key_file(home: Path, text: str) -> None:
    (home / ".runpod").mkdir()
    (home / ".runpod/config.toml").write_text(text, encoding="utf-8")


def test_what_a_program_says_comes_first_then_the_environment_then_the_file(home: Path) -> None:
    write_key_file(home, 'profile = "x"\n[default]\napi_key = "from-file"\n')
    environment = {
        "RUNPOD_ENDPOINT_ID": "ep",
        "RUNPOD_API_KEY": "from-environment\n",
        "RUNPOD_ENDPOINT_BASE_URL": "http://localhost:8000/v2/",
    }
    assert find_connection("mine", KEY, "https://api/v2", environment).url == "https://api/v2/mine"
    assert find_connection("mine", KEY, None, environment).api_key == KEY
    found = find_connection(None, None, None, environment)
    assert (found.url, found.api_key) == ("http://localhost:8000/v2/ep", "from-environment")
    found = find_connection("ep", None, None, {})
    assert (found.base_url, found.api_key) == (RUNPOD_URL, "from-file")


def test_the_client_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_ENDPOINT_ID", "ep")
    monkeypatch.setenv("RUNPOD_API_KEY", KEY)
    with Client() as client:
        assert repr(client) == "Client('https://api.runpod.ai/v2/ep')"


def test_everything_that_is_missing_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"set RUNPOD_ENDPOINT_ID.*set RUNPOD_API_KEY"):
        Client()


@pytest.mark.parametrize("text", ["", "[default]", '[default]\napi_key = ""', "[default]\napi_key = 5", "default = 5"])
def test_a_file_without_a_key_is_none(home: Path, text: str) -> None:
    write_key_file(home, text)
    with pytest.raises(ConfigurationError, match="There is no API key"):
        Client("ep")


def test_a_broken_file_is_told_without_what_it_holds(home: Path) -> None:
    write_key_file(home, f"[default]\napi_key = {KEY}\n")
    with pytest.raises(ConfigurationError, match="cannot be read as TOML") as caught:
        Client("ep")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", [f"{KEY}\r\nX-Evil: 1", f"{KEY} {KEY}", f"{KEY}ż", f"“{KEY}”"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigurationError, match="characters that no key has") as caught:
        Client("ep", key)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("endpoint_id", ["a/b", "../x", "a b", "ep?x=1", "x" * 201])
def test_an_endpoint_id_that_is_none_is_refused(endpoint_id: str) -> None:
    with pytest.raises(ConfigurationError, match="endpoint id"):
        Client(endpoint_id, KEY)


@pytest.mark.parametrize("base_url", ["localhost:8000", "ftp://api/v2", "https://", "https://[::1", "http://a:b:c/v2"])
def test_a_base_url_that_is_none_is_refused(base_url: str) -> None:
    with pytest.raises(ConfigurationError, match="not an http or https address"):
        Client("ep", KEY, base_url)


@pytest.mark.parametrize("base_url", [f"https://user:{KEY}@api/v2", f"https://api/v2?key={KEY}"])
def test_a_base_url_with_a_secret_is_refused_and_not_shown(base_url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Client("ep", KEY, base_url)
    assert KEY not in str(caught.value)


def test_the_key_is_in_no_text_form() -> None:
    connection = find_connection("ep", KEY, None, {})
    with Client("ep", KEY) as client:
        assert not [text for text in map(repr, (connection, client, client.endpoint)) if KEY in text]


def modules_after(statement: str) -> set[str]:
    program = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60).stdout
    return set(json.loads(output))


def test_importing_the_package_or_the_client_loads_nothing_heavy() -> None:
    package = modules_after("import comfypod")
    assert {name for name in package if name.startswith("comfypod")} == {"comfypod"}
    client = modules_after("from comfypod import Client")
    heavy = {"runpod", "torch", "aiohttp", "rich", "typer", "pydantic", "requests", "asyncio", "PIL", "numpy", "ssl"}
    assert not client & heavy
    assert len(client - modules_after("pass")) < 150


def test_all_names_of_the_package_are_there() -> None:
    assert set(comfypod.__all__) <= set(dir(comfypod))
    for name in comfypod.__all__:
        assert getattr(comfypod, name)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = comfypod.Nothing
    assert (Path(comfypod.__file__).parent / "py.typed").is_file()
